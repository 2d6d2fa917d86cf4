"""Which endpoints stand behind each virtual IP and port at a moment, as kube-proxy sees it from a node."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.cluster import Cluster
from lab.nodes import ZONE_LABEL
from mesh.kubernetes import EndpointSlice, Pod, Service, ServicePort
from mesh.model import IPAddress, SocketAddress

# Source: Kubernetes, "EndpointSlices": the label that says whose endpoints a slice holds.
_SERVICE_NAME_LABEL = "kubernetes.io/service-name"
# Source: Kubernetes, "Traffic distribution": PreferClose is the older name of PreferSameZone.
_SAME_ZONE, _SAME_NODE = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"}), frozenset({"PreferSameNode"})


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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that a service sends connections to.

    Args:
        node, zone: where it runs; "" where that is not known.
    """

    address: IPAddress
    node: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """An endpoint at the port that it serves one port of a service on."""

    endpoint: Endpoint
    port: int

    @property
    def address(self) -> SocketAddress:
        return SocketAddress(self.endpoint.address, self.port)


def virtual_ports(cluster: Cluster, node: str) -> tuple[VirtualPort, ...]:
    """Every virtual IP and port of the cluster, each once, sorted by service, with the backends that connections of `node` may take."""
    found: dict[tuple[IPAddress, str, int], VirtualPort] = {}
    for (namespace, name), service in sorted(cluster.services().items()):
        sticky = service.spec.session_affinity == "ClientIP"
        for address, port in itertools.product(service.addresses, service.spec.ports):
            known = [one for one in backends_of(cluster, service, port) if one.endpoint.address.version == address.version]
            backends = tuple(one.address for one in eligible(service, known, node, zone_of(cluster, node)))
            virtual = VirtualPort(f"{namespace}/{name}", address, port.protocol, port.port, backends, sticky)
            found.setdefault((address, port.protocol, port.port), virtual)
    return tuple(found.values())


def eligible(service: Service, backends: Iterable[Backend], node: str, zone: str) -> list[Backend]:
    """The backends that a service lets a client of this node and zone take. Source: Kubernetes, "Virtual IPs and Service Proxies"."""
    known, spec = list(backends), service.spec
    beside = [one for one in known if one.endpoint.node == node]
    if spec.internal_traffic_policy == "Local":
        return beside
    nearby = [one for one in known if zone and one.endpoint.zone == zone]
    return (
        (beside if spec.traffic_distribution in _SAME_NODE else []) or (nearby if spec.traffic_distribution in _SAME_ZONE else []) or known
    )


def backends_of(cluster: Cluster, service: Service, port: ServicePort) -> tuple[Backend, ...]:
    """All backends of a port, of both families, sorted. An endpoint that does not serve the port is none of them."""
    found = set(_selected(cluster, service, port) if service.spec.selector else _listed(cluster, service, port))
    return tuple(sorted(found, key=lambda one: (one.endpoint.address.version, int(one.endpoint.address), one.port)))


def endpoints_of(cluster: Cluster, service: Service) -> tuple[Endpoint, ...]:
    """The endpoints of a service whatever their ports, pods in their order."""
    if service.spec.selector:
        return tuple(one for pod in selected_pods(cluster, service) for one in _endpoints_of_pod(cluster, pod))
    return tuple(dict.fromkeys(one for slice_ in _slices_of(cluster, service) for one in _endpoints_of_slice(slice_)))


def selected_pods(cluster: Cluster, service: Service) -> tuple[Pod, ...]:
    """Pods of the service's namespace that carry all labels of its selector, and are ready unless it publishes those that are not."""
    selector, unready_too = service.spec.selector.items(), service.spec.publish_not_ready_addresses
    return tuple(
        pod
        for pod in cluster.pods().values()
        if pod.metadata.namespace == service.metadata.namespace
        and selector <= pod.metadata.labels.items()
        and (pod.ready or (unready_too and not pod.finished))
    )


def zone_of(cluster: Cluster, node: str) -> str:
    """ "" where nobody said which."""
    labels: dict[str, str] = cluster.bodies("Node")["", node]["metadata"]["labels"]
    return labels.get(ZONE_LABEL, "")


def _selected(cluster: Cluster, service: Service, port: ServicePort) -> Iterator[Backend]:
    for pod in selected_pods(cluster, service):
        target = _target_port(pod, port)
        if target is not None:
            yield from (Backend(endpoint, target) for endpoint in _endpoints_of_pod(cluster, pod))


def _endpoints_of_pod(cluster: Cluster, pod: Pod) -> Iterator[Endpoint]:
    zone = zone_of(cluster, pod.spec.node_name)
    return (Endpoint(ip, pod.spec.node_name, zone) for ip in pod.addresses)


def _target_port(pod: Pod, port: ServicePort) -> int | None:
    """None: the pod does not name the port. Source: Kubernetes, "Service", named ports."""
    if isinstance(port.target, int):
        return port.target
    ports = (declared for container in pod.spec.containers for declared in container.ports)
    return next((one.container_port for one in ports if one.name == port.target and one.protocol == port.protocol), None)


def _listed(cluster: Cluster, service: Service, port: ServicePort) -> Iterator[Backend]:
    for slice_ in _slices_of(cluster, service):
        target = next((one for one in slice_.ports if (one.name, one.protocol) == (port.name, port.protocol)), None)
        if target is not None:
            yield from (Backend(endpoint, target.port or port.port) for endpoint in _endpoints_of_slice(slice_))


def _slices_of(cluster: Cluster, service: Service) -> Iterator[EndpointSlice]:
    namespace, name = service.metadata.namespace, service.metadata.name
    for (own, _), slice_ in sorted(cluster.slices().items()):
        if own == namespace and slice_.metadata.labels.get(_SERVICE_NAME_LABEL) == name:
            yield slice_


def _endpoints_of_slice(slice_: EndpointSlice) -> Iterator[Endpoint]:
    """Those that are ready, by their first addresses; names (FQDN) are none that a packet could be sent to."""
    for one in slice_.endpoints:
        address = next(iter(one.addresses), None)
        if one.conditions.ready is not False and address is not None and not isinstance(address, str):
            yield Endpoint(address, one.node_name, one.zone)
