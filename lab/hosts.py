"""The /etc/hosts of a namespace's pods: the lab has no DNS, so that names work without anything of the mesh."""

from collections.abc import Iterator

from lab.cluster import Cluster
from lab.endpoints import ready_pods

CLUSTER_DOMAIN = "cluster.local"
_LOCAL = ("127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback")


def render(cluster: Cluster, namespace: str) -> str:
    """Services first, by every name that Kubernetes' DNS gives them (a headless one: its ready pods), then pods by their names.

    A bare name means the pods' own namespace, and a service's name wins over a pod's.
    """
    lines = [*_LOCAL, *_service_lines(cluster, namespace), *_pod_lines(cluster, namespace)]
    return "\n".join(lines) + "\n"


def _service_lines(cluster: Cluster, namespace: str) -> Iterator[str]:
    pods = cluster.pods().values()
    for (own, name), service in sorted(cluster.services().items()):
        qualified = f"{name}.{own}"
        names = [f"{qualified}.svc.{CLUSTER_DOMAIN}", f"{qualified}.svc", qualified, *([name] if own == namespace else [])]
        addresses = service.addresses or tuple(ip for pod in ready_pods(service, pods) for ip in pod.addresses)
        for address in addresses:
            yield f"{address}\t{' '.join(names)}"


def _pod_lines(cluster: Cluster, namespace: str) -> Iterator[str]:
    services = cluster.services()
    for (own, name), pod in sorted(cluster.pods().items()):
        names = [] if (own, name) in services else [f"{name}.{own}", *([name] if own == namespace else [])]
        if names:
            for address in pod.addresses:
                yield f"{address}\t{' '.join(names)}"
