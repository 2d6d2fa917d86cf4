"""The /etc/hosts of a namespace's pods: the lab has no DNS, so that names work without anything of the mesh."""

from collections.abc import Iterator, Sequence

from lab.cluster import Cluster
from lab.endpoints import endpoints_of
from mesh.model import IPAddress

CLUSTER_DOMAIN = "cluster.local"
_LOCAL = ("127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback")


def render(cluster: Cluster, namespace: str) -> str:
    """Services first, by every name that Kubernetes' DNS gives them, then ServiceEntries by their hosts, then pods by their names.

    A headless service has the addresses of its endpoints, one of type ExternalName those of its target where that is a name of the
    lab. A bare name means the pods' own namespace, and a service's name wins over a pod's.
    """
    lines = [*_LOCAL, *_service_lines(cluster, namespace), *_entry_lines(cluster), *_pod_lines(cluster, namespace)]
    return "\n".join(lines) + "\n"


def _service_lines(cluster: Cluster, namespace: str) -> Iterator[str]:
    known = _known_names(cluster)
    for own, name in sorted(cluster.services()):
        qualified = f"{name}.{own}"
        names = [f"{qualified}.svc.{CLUSTER_DOMAIN}", f"{qualified}.svc", qualified, *([name] if own == namespace else [])]
        for address in _follow(cluster, known, names[0]):
            yield f"{address}\t{' '.join(names)}"


def _entry_lines(cluster: Cluster) -> Iterator[str]:
    """Hosts with a wildcard are no names."""
    services = _service_names(cluster)
    for host, addresses in _entry_names(cluster).items():
        if host not in services and "*" not in host:
            yield from (f"{address}\t{host}" for address in addresses)


def _pod_lines(cluster: Cluster, namespace: str) -> Iterator[str]:
    services = cluster.services()
    for (own, name), pod in sorted(cluster.pods().items()):
        names = [] if (own, name) in services else [f"{name}.{own}", *([name] if own == namespace else [])]
        if names:
            for address in pod.addresses:
                yield f"{address}\t{' '.join(names)}"


def _known_names(cluster: Cluster) -> dict[str, Sequence[IPAddress] | str]:
    """What each qualified name stands for: addresses, or another name (ExternalName)."""
    return {**_entry_names(cluster), **_service_names(cluster)}


def _service_names(cluster: Cluster) -> dict[str, Sequence[IPAddress] | str]:
    bodies = cluster.bodies("Service")
    names: dict[str, Sequence[IPAddress] | str] = {}
    for (namespace, name), service in cluster.services().items():
        external = bodies[namespace, name]["spec"].get("externalName") if service.spec.type == "ExternalName" else None
        addresses = service.addresses or [one.address for one in endpoints_of(cluster, service)]
        names[f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"] = addresses if external is None else str(external).rstrip(".").lower()
    return names


def _entry_names(cluster: Cluster) -> dict[str, Sequence[IPAddress]]:
    """A ServiceEntry's hosts: its own addresses, else those of the endpoints that it lists."""
    names: dict[str, Sequence[IPAddress]] = {}
    for _, entry in sorted(cluster.service_entries().items()):
        own = [network.network_address for network in entry.spec.addresses if network.num_addresses == 1]
        endpoints = [one.address for one in entry.spec.endpoints if one.address and not isinstance(one.address, str)]
        for host in entry.spec.hosts:
            names.setdefault(host, own or endpoints)
    return names


def _follow(cluster: Cluster, known: dict[str, Sequence[IPAddress] | str], name: str) -> Sequence[IPAddress]:
    """The addresses at the end of a chain of names; none where it leaves the lab, or never ends."""
    for _ in cluster.entries:
        target = known.get(name, ())
        if not isinstance(target, str):
            return target
        name = target
    return ()
