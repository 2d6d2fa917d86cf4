"""The Kubernetes objects that the mesh reads, as far as it reads them. Whatever else an object carries is ignored."""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, StrictBool, StrictInt, StrictStr, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from mesh.model import IPAddress

# Source: RFC 1123 and Kubernetes, "Object Names and IDs". Names become parts of identities and paths: nothing else may pass.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Source: Kubernetes, "Labels and Selectors". Their values are told to the nodes and end in log lines.
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# A uid names a file of the node agent.
_UID = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?")
_NO_ADDRESS = "None"
_T = TypeVar("_T")


def _expect(expected: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def _matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise _expect(expected)
        return value

    return AfterValidator(check)


def _at_least_one(values: tuple[_T, ...]) -> tuple[_T, ...]:
    if not values:
        raise _expect("at least one entry")
    return values


def _read_ip(value: object) -> IPAddress:
    try:
        ip = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        ip = None
    if ip is None or (isinstance(ip, IPv6Address) and (ip.scope_id is not None or ip.ipv4_mapped is not None)):
        raise _expect("an IPv4 or IPv6 address")
    return ip


def _read_cluster_ip(value: object) -> IPAddress | None:
    return None if value in ("", _NO_ADDRESS) else _read_ip(value)


def _read_target_port(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65535:
        return value
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value
    raise _expect("a port 1-65535 or the name of a container's port")


Label = Annotated[StrictStr, _matching(_LABEL, "a DNS label (RFC 1123)")]
Subdomain = Annotated[StrictStr, _matching(_SUBDOMAIN, "a DNS subdomain (RFC 1123)")]
OptionalSubdomain = Annotated[StrictStr, _matching(re.compile(f"|{_SUBDOMAIN.pattern}"), "a DNS subdomain (RFC 1123)")]
Uid = Annotated[StrictStr, _matching(_UID, "up to 128 letters, digits, '-', '_' or '.'")]
Address = Annotated[IPAddress, PlainValidator(_read_ip)]
ClusterAddress = Annotated[IPAddress | None, PlainValidator(_read_cluster_ip)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Protocol = Literal["TCP", "UDP", "SCTP"]
Labels = dict[
    Annotated[StrictStr, _matching(_LABEL_KEY, "a label's key: [prefix/]name")],
    Annotated[StrictStr, _matching(_LABEL_VALUE, "a label's value: up to 63 letters, digits, '-', '_' or '.'")],
]
Annotations = dict[StrictStr, StrictStr]


class _Object(BaseModel):
    """Frozen; fields are spelled as in Kubernetes on the way in, and in Python's way in code."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """Kubernetes prints and reads null where a field is not set."""
        return {key: one for key, one in value.items() if one is not None} if isinstance(value, Mapping) else value


class OwnerReference(_Object):
    kind: StrictStr
    name: Subdomain
    controller: StrictBool = False


class Metadata(_Object):
    """Of an object in a namespace."""

    name: Subdomain
    namespace: Label = "default"
    uid: Uid = ""
    labels: Labels = {}
    annotations: Annotations = {}
    owner_references: tuple[OwnerReference, ...] = ()
    deletion_timestamp: StrictStr | None = None


class NamespaceMetadata(Metadata):
    name: Label


class Namespace(_Object):
    metadata: NamespaceMetadata


class ServiceAccount(_Object):
    metadata: Metadata


class ContainerPort(_Object):
    container_port: Port
    name: StrictStr = ""
    protocol: Protocol = "TCP"


class EnvVar(_Object):
    name: Annotated[StrictStr, Field(min_length=1)]
    value: StrictStr = ""


class Container(_Object):
    name: Label
    image: StrictStr = ""
    command: tuple[StrictStr, ...] = ()
    args: tuple[StrictStr, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(_Object):
    """node_name is "" while the pod is not scheduled."""

    containers: Annotated[tuple[Container, ...], AfterValidator(_at_least_one)]
    node_name: OptionalSubdomain = ""
    service_account_name: Subdomain = "default"
    host_network: StrictBool = False


class PodCondition(_Object):
    type: StrictStr
    status: StrictStr


class PodIP(_Object):
    ip: Address


class PodStatus(_Object):
    pod_ip: Annotated[Address | None, Field(alias="podIP")] = None
    pod_ips: Annotated[tuple[PodIP, ...], Field(alias="podIPs")] = ()
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] = "Pending"
    conditions: tuple[PodCondition, ...] = ()


class Pod(_Object):
    metadata: Metadata
    spec: PodSpec
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Returns the pod's addresses, its primary one first; empty while it has none."""
        if self.status.pod_ips:
            return tuple(dict.fromkeys(one.ip for one in self.status.pod_ips))
        return (self.status.pod_ip,) if self.status.pod_ip is not None else ()

    @property
    def finished(self) -> bool:
        """Whether its processes have ended for good; its addresses may then belong to another pod."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def ready(self) -> bool:
        """Whether services may send it connections: running, not being deleted, and its Ready condition is true."""
        ready = any(one.type == "Ready" and one.status == "True" for one in self.status.conditions)
        return ready and self.status.phase == "Running" and self.metadata.deletion_timestamp is None


class ServicePort(_Object):
    port: Port
    name: StrictStr = ""
    target_port: Annotated[int | str | None, PlainValidator(_read_target_port)] = None
    protocol: Protocol = "TCP"

    @property
    def target(self) -> int | str:
        """Returns the number or the name of the container's port; it is the service's own number unless it says otherwise."""
        return self.port if self.target_port is None else self.target_port


class ServiceSpec(_Object):
    selector: Labels = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: Annotated[ClusterAddress, Field(alias="clusterIP")] = None
    cluster_ips: Annotated[tuple[ClusterAddress, ...], Field(alias="clusterIPs")] = ()
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] = ()


class ServiceMetadata(Metadata):
    name: Label


class Service(_Object):
    metadata: ServiceMetadata
    spec: ServiceSpec = ServiceSpec()

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Returns the virtual IPs; empty for a headless service, or one that has none yet."""
        listed = self.spec.cluster_ips or (self.spec.cluster_ip,)
        return tuple(dict.fromkeys(ip for ip in listed if ip is not None))


Object = Namespace | Pod | Service | ServiceAccount


def qualified_name(value: Object) -> str:
    """Returns "namespace/name"; of a namespace its name."""
    return value.metadata.name if isinstance(value, Namespace) else f"{value.metadata.namespace}/{value.metadata.name}"
