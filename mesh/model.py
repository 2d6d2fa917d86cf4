"""What is in the mesh: workloads, services, and how a service spreads its connections."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from mesh.identity import Identity

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An address and a port; IPv4-mapped IPv6 addresses never occur here."""

    ip: IPAddress
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


class TunnelProtocol(enum.Enum):
    """How a workload is reached."""

    NONE = "none"
    HBONE = "hbone"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of a service and the port on the workload that backs it."""

    service_port: int
    target_port: int


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a workload runs; each part is "" where it is not known. Source: Kubernetes, "Well-Known Labels", topology."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


class RoutingScope(enum.Enum):
    """What two workloads may have in common. Values are those of istio.workload.LoadBalancing.Scope."""

    REGION = 1
    ZONE = 2
    SUBZONE = 3
    NODE = 4
    CLUSTER = 5
    NETWORK = 6


class BalancingMode(enum.Enum):
    """What the routing preference means. Values are those of istio.workload.LoadBalancing.Mode."""

    UNSPECIFIED = 0  # all endpoints alike
    STRICT = 1  # only endpoints that share every scope with the source
    FAILOVER = 2  # those that share the most scopes, from the first on, and are there
    PASSTHROUGH = 3  # no endpoints: the connection goes to the address that was asked for


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """Which endpoints of a service a connection may take.

    Args:
        preference: scopes in the order in which they must be shared with the source.
        unready_too: endpoints that are not healthy take connections as well (publishNotReadyAddresses).
        affinity_s: session affinity ClientIP: a client keeps its endpoint for so many seconds; 0: none.
    """

    preference: tuple[RoutingScope, ...] = ()
    mode: BalancingMode = BalancingMode.UNSPECIFIED
    unready_too: bool = False
    affinity_s: int = 0


@dataclass(frozen=True, slots=True)
class Workload:
    """One addressable instance: a pod, a virtual machine, or an address outside the mesh.

    Args:
        uid: unique in the mesh; for a pod "<cluster>//Pod/<namespace>/<name>".
        hostname: where there are no addresses: the DNS name that the node resolves when it connects.
        capacity: weight among the endpoints of a service; 0: no connections.
        policies: "namespace/name" of each policy that selects this workload by its labels.
        services: for each service that this workload backs ("namespace/hostname"), the ports.
        healthy: ready to receive traffic.
        canonical_name, canonical_revision: for telemetry (app and version of the pod).
        workload_name: of the controller that owns the pod, or the pod's own.
    """

    uid: str
    name: str
    namespace: str
    service_account: str
    trust_domain: str
    addresses: tuple[IPAddress, ...]
    node: str
    tunnel_protocol: TunnelProtocol = TunnelProtocol.NONE
    network: str = ""
    cluster: str = "Kubernetes"
    host_network: bool = False
    healthy: bool = True
    canonical_name: str = ""
    canonical_revision: str = "latest"
    workload_name: str = ""
    services: Mapping[str, tuple[PortMapping, ...]] = field(default_factory=dict)
    hostname: str = ""
    locality: Locality = Locality()
    capacity: int = 1
    policies: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        return Identity(self.trust_domain, self.namespace, self.service_account)


@dataclass(frozen=True, slots=True)
class Service:
    """A hostname with virtual IPs and ports.

    Args:
        addresses: virtual IPs, empty for a headless service.
        ports: service_port to the default target_port (a workload's own mapping wins).
        subject_alt_names: SPIFFE URIs that any endpoint may prove instead of its own (ServiceEntry).
    """

    name: str
    namespace: str
    hostname: str
    addresses: tuple[IPAddress, ...]
    ports: tuple[PortMapping, ...]
    network: str = ""
    load_balancing: LoadBalancing = LoadBalancing()
    subject_alt_names: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The service's name in the mesh: "namespace/hostname"."""
        return f"{self.namespace}/{self.hostname}"
