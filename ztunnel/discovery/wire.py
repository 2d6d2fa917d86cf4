"""Delta xDS messages: requests as we send them, responses to checked updates. No I/O.

Source: Envoy's xDS protocol, "Incremental xDS"; the resource types are those of istio/ztunnel's workload.proto and authorization.proto.
"""

from collections.abc import Iterable, Mapping

from envoy.service.discovery.v3 import discovery_pb2 as xds  # type: ignore[import-untyped]  # xds-protos has no types
from google.protobuf.message import DecodeError

from mesh.errors import ConfigError
from mesh.wire import authorization_pb2, workload_pb2
from mesh.wire.convert import resource_names, service_from_wire, workload_from_wire
from mesh.wire.policies import authorization_from_wire
from ztunnel.config import NodeSettings
from ztunnel.discovery.policies import PolicyUpdate, PolicyUpsert
from ztunnel.discovery.store import Resource, Update, Upsert

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
WILDCARD = "*"
# google.rpc.Code: INVALID_ARGUMENT.
INVALID_ARGUMENT = 3
# A rejection names so many resources; the rest fail for the same few reasons.
MAX_REASONS = 8
# Of one reason: the name of a resource, the field and the beginning of its value.
MAX_REASON_LENGTH = 512
# It is repeated in the acknowledgement. Control planes use counters, UUIDs, or a hash.
MAX_NONCE_LENGTH = 1024
# Of a type's or resource's name that we do not know, in a log line.
MAX_SHOWN = 256


def subscribe_request(names: Iterable[str], drop: Iterable[str] = (), type_url: str = ADDRESS_TYPE) -> xds.DeltaDiscoveryRequest:
    return xds.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=sorted(names), resource_names_unsubscribe=sorted(drop))


def first_request(
    node: NodeSettings, names: frozenset[str], versions: Mapping[str, str], type_url: str = ADDRESS_TYPE
) -> xds.DeltaDiscoveryRequest:
    """Returns what opens a stream, or the first request for another type on it.

    Args:
        names: to subscribe to; WILDCARD for everything; none at all is said by taking WILDCARD and dropping it, for an empty
            list would mean everything.
        versions: of the resources that are held, so that only what differs is sent.
    """
    nothing = () if names else (WILDCARD,)
    request = subscribe_request(names or nothing, nothing, type_url)
    # The ecosystem's control planes read the type of proxy from an id of four parts: type, address, name, DNS domain.
    request.node.id = f"ztunnel~127.0.0.1~ztunnel-{node.name}.istio-system~istio-system.svc.{node.trust_domain}"
    request.node.metadata.update({"NODE_NAME": node.name, "CLUSTER_ID": node.cluster_id})
    request.initial_resource_versions.update(versions)
    return request


def ack_request(nonce: str, reasons: tuple[str, ...] = (), type_url: str = ADDRESS_TYPE) -> xds.DeltaDiscoveryRequest:
    """Returns the acknowledgement of a response, or its rejection with the reasons."""
    request = xds.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
    if reasons:
        request.error_detail.code = INVALID_ARGUMENT
        more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
        request.error_detail.message = "; ".join(reasons[:MAX_REASONS]) + more
    return request


def reject_type(response: xds.DeltaDiscoveryResponse) -> xds.DeltaDiscoveryRequest:
    """Returns the rejection of a response of a type that was never asked for; it subscribes to nothing."""
    reason = f"type {response.type_url[:MAX_SHOWN]!r}, expected {ADDRESS_TYPE} or {AUTHORIZATION_TYPE}"
    request = ack_request(response.nonce, (reason,), response.type_url)
    # A first request that names nothing would ask for everything of the type.
    request.resource_names_subscribe.append(WILDCARD)
    request.resource_names_unsubscribe.append(WILDCARD)
    return request


def read_addresses(response: xds.DeltaDiscoveryResponse, trust_domain: str) -> tuple[Update, tuple[str, ...]]:
    """Checks every resource of a response of ADDRESS_TYPE.

    Returns:
        The good ones, and for each of the others why it is not; of those the last good state is kept.
    """
    upserts, reasons = [], []
    for resource in response.resources:
        try:
            upserts.append(_read_address(resource, trust_domain))
        except (ConfigError, DecodeError) as error:
            reasons.append(_reason(resource, error))
    # A name that comes twice means its last value.
    unique = {upsert.name: upsert for upsert in upserts}
    return Update(tuple(unique.values()), tuple(response.removed_resources)), tuple(reasons)


def read_policies(response: xds.DeltaDiscoveryResponse) -> tuple[PolicyUpdate, tuple[str, ...]]:
    """Checks every resource of a response of AUTHORIZATION_TYPE.

    Returns:
        What it says, the refused ones among it, and the reasons for these.
    """
    upserts: dict[str, PolicyUpsert] = {}
    refused: dict[str, str] = {}
    for resource in response.resources:
        # A name that comes twice means its last value.
        upserts.pop(resource.name, None)
        refused.pop(resource.name, None)
        try:
            upserts[resource.name] = _read_policy(resource)
        except (ConfigError, DecodeError) as error:
            refused[resource.name] = _reason(resource, error)
    return PolicyUpdate(tuple(upserts.values()), tuple(response.removed_resources), refused), tuple(refused.values())


def _reason(resource: xds.Resource, error: Exception) -> str:
    return f"{resource.name[:MAX_SHOWN]!r}: {error}"[:MAX_REASON_LENGTH]


def _read_address(resource: xds.Resource, trust_domain: str) -> Upsert:
    address = workload_pb2.Address.FromString(_body(resource, ADDRESS_TYPE))
    value: Resource
    match address.WhichOneof("type"):
        case "workload":
            value = workload_from_wire(address.workload, trust_domain)
        case "service":
            value = service_from_wire(address.service)
        case _:
            raise ConfigError("type", None, "workload or service")
    name, _ = resource_names(value)
    _check_name(resource, name)
    return Upsert(name, resource.version, value)


def _read_policy(resource: xds.Resource) -> PolicyUpsert:
    policy = authorization_from_wire(authorization_pb2.Authorization.FromString(_body(resource, AUTHORIZATION_TYPE)))
    _check_name(resource, policy.key)
    return PolicyUpsert(resource.version, policy)


def _body(resource: xds.Resource, type_url: str) -> bytes:
    if resource.resource.type_url != type_url:
        raise ConfigError("resource.type_url", resource.resource.type_url[:MAX_SHOWN], type_url)
    body: bytes = resource.resource.value
    return body


def _check_name(resource: xds.Resource, name: str) -> None:
    if resource.name != name:
        raise ConfigError("name", resource.name[:MAX_SHOWN], f"the name of what it holds, {name}")
