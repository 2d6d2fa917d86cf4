"""What is in the mesh: workloads, services, and an immutable snapshot of both."""

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
class Workload:
    """One addressable instance: a pod.

    Args:
        uid: unique in the mesh; for a pod "<cluster>//Pod/<namespace>/<name>".
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

    @property
    def identity(self) -> Identity:
        return Identity(self.trust_domain, self.namespace, self.service_account)


@dataclass(frozen=True, slots=True)
class Service:
    """A hostname with virtual IPs and ports.

    Args:
        addresses: virtual IPs, empty for a headless service.
        ports: service_port to the default target_port (a workload's own mapping wins).
    """

    name: str
    namespace: str
    hostname: str
    addresses: tuple[IPAddress, ...]
    ports: tuple[PortMapping, ...]
    network: str = ""

    @property
    def key(self) -> str:
        """The service's name in the mesh: "namespace/hostname"."""
        return f"{self.namespace}/{self.hostname}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the control plane knows at one moment.

    Args:
        generation: grows by one with every snapshot that differs from the one before.
        workloads: by uid.
        services: by key.
    """

    generation: int
    workloads: Mapping[str, Workload]
    services: Mapping[str, Service]
