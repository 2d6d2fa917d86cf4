"""From Kubernetes objects to the mesh's own: workloads and services, in a snapshot with a generation."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mesh import kubernetes
from mesh.enrolment import reachable_by_tunnel
from mesh.manifests import Manifests
from mesh.model import PortMapping, Service, Snapshot, TunnelProtocol, Workload

# The first label that a pod has. Source: Istio, "Canonical Service".
_CANONICAL_NAME_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_CANONICAL_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_TEMPLATE_HASH_LABEL = "pod-template-hash"


def build_snapshot(manifests: Manifests, previous: Snapshot | None, trust_domain: str, cluster_id: str, cluster_domain: str) -> Snapshot:
    """Builds what the nodes are told.

    A pod is a workload from when it is scheduled, before it has addresses, so that its node can have a certificate for it; it is
    healthy while it is ready. Endpoints of a service are the pods that its selector matches.
    Returns:
        `previous` itself when nothing changed; else a snapshot of the next generation, the first being 1.
    """
    backed = {
        _service_key(service, cluster_domain): service for service in manifests.services.values() if service.spec.type != "ExternalName"
    }
    services = {key: _service(service, key) for key, service in backed.items()}
    by_namespace: dict[str, dict[str, kubernetes.Service]] = {}
    for key, service in backed.items():
        by_namespace.setdefault(service.metadata.namespace, {})[key] = service
    workloads = {}
    for pod in manifests.pods.values():
        if pod.spec.node_name and not pod.finished:
            candidates = by_namespace.get(pod.metadata.namespace, {})
            hbone = reachable_by_tunnel(pod, manifests.namespaces.get(pod.metadata.namespace))
            workload = _workload(pod, candidates, hbone, trust_domain, cluster_id)
            workloads[workload.uid] = workload
    if previous is not None and previous.workloads == workloads and previous.services == services:
        return previous
    generation = previous.generation + 1 if previous is not None else 1
    return Snapshot(generation, MappingProxyType(workloads), MappingProxyType(services))


def _service_key(service: kubernetes.Service, cluster_domain: str) -> str:
    name, namespace = service.metadata.name, service.metadata.namespace
    return f"{namespace}/{name}.{namespace}.svc.{cluster_domain}"


def _service(service: kubernetes.Service, key: str) -> Service:
    return Service(
        name=service.metadata.name,
        namespace=service.metadata.namespace,
        hostname=key.partition("/")[2],
        addresses=service.addresses,
        ports=tuple(PortMapping(port.port, port.target if isinstance(port.target, int) else 0) for port in _tcp_ports(service)),
    )


def _tcp_ports(service: kubernetes.Service) -> Iterable[kubernetes.ServicePort]:
    return (port for port in service.spec.ports if port.protocol == "TCP")


def _workload(pod: kubernetes.Pod, services: Mapping[str, kubernetes.Service], hbone: bool, trust_domain: str, cluster_id: str) -> Workload:
    metadata, controller = pod.metadata, _controller_name(pod)
    return Workload(
        uid=f"{cluster_id}//Pod/{metadata.namespace}/{metadata.name}",
        name=metadata.name,
        namespace=metadata.namespace,
        service_account=pod.spec.service_account_name,
        trust_domain=trust_domain,
        addresses=pod.addresses,
        node=pod.spec.node_name,
        tunnel_protocol=TunnelProtocol.HBONE if hbone else TunnelProtocol.NONE,
        cluster=cluster_id,
        host_network=pod.spec.host_network,
        healthy=pod.ready,
        canonical_name=_first_label(metadata.labels, _CANONICAL_NAME_LABELS, controller),
        canonical_revision=_first_label(metadata.labels, _CANONICAL_REVISION_LABELS, "latest"),
        workload_name=controller,
        services=MappingProxyType({key: _pod_ports(service, pod) for key, service in services.items() if _selects(service, pod)}),
    )


def _selects(service: kubernetes.Service, pod: kubernetes.Pod) -> bool:
    """Tells whether a service's selector matches a pod of its namespace; without a selector it matches none."""
    selector = service.spec.selector
    return bool(selector) and selector.items() <= pod.metadata.labels.items()


def _pod_ports(service: kubernetes.Service, pod: kubernetes.Pod) -> tuple[PortMapping, ...]:
    """Returns the service's ports as this pod serves them; one whose target port it does not name is left out."""
    named = {port.name: port.container_port for container in pod.spec.containers for port in container.ports if port.protocol == "TCP"}
    targets = ((port.port, named.get(port.target, 0) if isinstance(port.target, str) else port.target) for port in _tcp_ports(service))
    return tuple(PortMapping(port, target) for port, target in targets if target)


def _controller_name(pod: kubernetes.Pod) -> str:
    """Returns the name of what made the pod: of the Deployment rather than of its ReplicaSet; the pod's own where nothing did."""
    owner = next((one for one in pod.metadata.owner_references if one.controller), None)
    if owner is None:
        return pod.metadata.name
    suffix = "-" + pod.metadata.labels.get(_TEMPLATE_HASH_LABEL, "")
    return owner.name.removesuffix(suffix) if owner.kind == "ReplicaSet" and len(suffix) > 1 else owner.name


def _first_label(labels: Mapping[str, str], keys: Iterable[str], default: str) -> str:
    return next((labels[key] for key in keys if labels.get(key)), default)
