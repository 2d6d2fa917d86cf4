"""Delta xDS messages: requests as we send them, responses to checked updates. No I/O.

Source: Envoy's xDS protocol, "Incremental xDS"; the resource type is istio/ztunnel's workload.proto.
"""

from collections.abc import Iterable, Mapping

from envoy.service.discovery.v3 import discovery_pb2 as xds  # type: ignore[import-untyped]  # xds-protos has no types
from google.protobuf.message import DecodeError

from mesh.errors import ConfigError
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names, service_from_wire, workload_from_wire
from ztunnel.config import NodeSettings
from ztunnel.discovery.store import Resource, Update, Upsert

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
WILDCARD = "*"
# google.rpc.Code: INVALID_ARGUMENT.
INVALID_ARGUMENT = 3
# A rejection names so many resources; the rest fail for the same few reasons.
MAX_REASONS = 8


def subscribe_request(names: Iterable[str], drop: Iterable[str] = ()) -> xds.DeltaDiscoveryRequest:
    return xds.DeltaDiscoveryRequest(type_url=ADDRESS_TYPE, resource_names_subscribe=sorted(names), resource_names_unsubscribe=sorted(drop))


def first_request(node: NodeSettings, names: frozenset[str], versions: Mapping[str, str]) -> xds.DeltaDiscoveryRequest:
    """Returns what opens a stream.

    Args:
        names: to subscribe to; WILDCARD for everything; none at all is said by taking WILDCARD and dropping it, for an empty
            list would mean everything.
        versions: of the resources that are held, so that only what differs is sent.
    """
    nothing = () if names else (WILDCARD,)
    request = subscribe_request(names or nothing, nothing)
    # The ecosystem's control planes read the type of proxy from an id of four parts: type, address, name, DNS domain.
    request.node.id = f"ztunnel~127.0.0.1~ztunnel-{node.name}.istio-system~istio-system.svc.{node.trust_domain}"
    request.node.metadata.update({"NODE_NAME": node.name, "CLUSTER_ID": node.cluster_id})
    request.initial_resource_versions.update(versions)
    return request


def ack_request(nonce: str, reasons: tuple[str, ...] = ()) -> xds.DeltaDiscoveryRequest:
    """Returns the acknowledgement of a response, or its rejection with the reasons."""
    request = xds.DeltaDiscoveryRequest(type_url=ADDRESS_TYPE, response_nonce=nonce)
    if reasons:
        request.error_detail.code = INVALID_ARGUMENT
        more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
        request.error_detail.message = "; ".join(reasons[:MAX_REASONS]) + more
    return request


def read_response(response: xds.DeltaDiscoveryResponse, trust_domain: str) -> tuple[Update, tuple[str, ...]]:
    """Checks every resource of a response.

    Returns:
        The good ones, and for each of the others why it is not; of those the last good state is kept.
    """
    if response.type_url != ADDRESS_TYPE:
        return Update((), ()), (f"type {response.type_url[:128]!r}, expected {ADDRESS_TYPE}",)
    upserts, reasons = [], []
    for resource in response.resources:
        try:
            upserts.append(_read_resource(resource, trust_domain))
        except (ConfigError, DecodeError) as error:
            reasons.append(f"{resource.name[:256]!r}: {error}")
    # A name that comes twice means its last value.
    unique = {upsert.name: upsert for upsert in upserts}
    return Update(tuple(unique.values()), tuple(response.removed_resources)), tuple(reasons)


def _read_resource(resource: xds.Resource, trust_domain: str) -> Upsert:
    if resource.resource.type_url != ADDRESS_TYPE:
        raise ConfigError("resource.type_url", resource.resource.type_url[:128], ADDRESS_TYPE)
    address = pb.Address.FromString(resource.resource.value)
    value: Resource
    match address.WhichOneof("type"):
        case "workload":
            value = workload_from_wire(address.workload, trust_domain)
        case "service":
            value = service_from_wire(address.service)
        case _:
            raise ConfigError("type", None, "workload or service")
    name, _ = resource_names(value)
    if resource.name != name:
        raise ConfigError("name", resource.name[:256], f"the name of what it holds, {name}")
    return Upsert(name, resource.version, value)
