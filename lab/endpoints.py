"""Which pods stand behind each virtual IP and port at a moment."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.cluster import Cluster
from mesh.kubernetes import Pod, Service, ServicePort
from mesh.model import IPAddress, SocketAddress


@dataclass(frozen=True, slots=True)
class VirtualPort:
    """Args:
    service: "namespace/name".
    backends: of the address's own family, sorted; empty: connections are refused.
    sticky: connections of one client go to one backend.
    """

    service: str
    address: IPAddress
    protocol: str
    port: int
    backends: tuple[SocketAddress, ...]
    sticky: bool


def virtual_ports(cluster: Cluster) -> tuple[VirtualPort, ...]:
    """Every virtual IP and port of the cluster, each once, sorted by service."""
    pods, bodies = cluster.pods(), cluster.bodies("Service")
    found: dict[tuple[IPAddress, str, int], VirtualPort] = {}
    for (namespace, name), service in sorted(cluster.services().items()):
        sticky = _sticky(bodies[namespace, name])
        for address, port in itertools.product(service.addresses, service.spec.ports):
            backends = backends_of(service, port, pods, address.version)
            virtual = VirtualPort(f"{namespace}/{name}", address, port.protocol, port.port, backends, sticky)
            found.setdefault((address, port.protocol, port.port), virtual)
    return tuple(found.values())


def backends_of(service: Service, port: ServicePort, pods: Mapping[tuple[str, str], Pod], ip_version: int) -> tuple[SocketAddress, ...]:
    """Raises nothing: a pod that does not name the port is no backend. Source: Kubernetes, "Service", named ports."""
    found = set()
    for pod in ready_pods(service, pods.values()):
        target = _target_port(pod, port)
        if target is not None:
            found |= {SocketAddress(ip, target) for ip in pod.addresses if ip.version == ip_version}
    return tuple(sorted(found, key=lambda backend: (int(backend.ip), backend.port)))


def ready_pods(service: Service, pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Pods of the service's namespace that carry all labels of its selector; a service without one selects nothing."""
    selector = service.spec.selector.items()
    return tuple(
        pod
        for pod in pods
        if selector and pod.metadata.namespace == service.metadata.namespace and selector <= pod.metadata.labels.items() and pod.ready
    )


def _target_port(pod: Pod, port: ServicePort) -> int | None:
    if isinstance(port.target, int):
        return port.target
    ports = (declared for container in pod.spec.containers for declared in container.ports)
    return next((one.container_port for one in ports if one.name == port.target and one.protocol == port.protocol), None)


def _sticky(body: Mapping[str, object]) -> bool:
    spec = body.get("spec")
    return isinstance(spec, Mapping) and spec.get("sessionAffinity") == "ClientIP"
