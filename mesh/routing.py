"""Where a connection goes: from an intended destination to the workloads that may serve it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mesh.errors import NoHealthyUpstream, ResolutionError
from mesh.model import IPAddress, Service, SocketAddress, Workload


class View(Protocol):
    """What a node knows of the mesh: a whole snapshot, or the part that it subscribed to."""

    def find(self, network: str, ip: IPAddress) -> Workload | Service | None:
        """Returns the owner of an address: a service for a virtual IP, a workload for its own, None for a stranger."""

    def endpoints(self, service_key: str) -> Iterable[Workload]:
        """Returns the workloads that back a service ("namespace/hostname"), healthy or not, in any order."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One workload that may take a connection.

    Args:
        address: the workload's address of the family asked for (else another) and its target port.
    """

    workload: Workload
    address: SocketAddress


@dataclass(frozen=True, slots=True)
class Route:
    """The connection stays in the mesh.

    Args:
        service: the service whose virtual IP was asked for; None when it was the workload's own address.
        endpoints: at least one, any of which will do, in the order of their uids.
    """

    service: Service | None
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Nobody in the mesh owns the destination: connect to it unchanged."""

    target: SocketAddress


def resolve(view: View, source: Workload | None, network: str, target: SocketAddress) -> Route | Passthrough:
    """Chooses the endpoints for one captured connection.

    A workload that is asked for by its own address is an endpoint even when it is not ready: readiness is a rule of services.

    Args:
        source: who asks, where it is known; errors name it.
        network: the network that the source is on; there is no way to another one.
        target: the original destination, as the application asked for it.
    Raises:
        NoHealthyUpstream: the service has the port, but no ready endpoint for it.
        ResolutionError: the service has no such port.
    Source: Kubernetes, "Virtual IPs and Service Proxies".
    """
    owner = view.find(network, target.ip)
    if owner is None:
        return Passthrough(target)
    if isinstance(owner, Workload):
        return Route(None, (Endpoint(owner, target),))
    asker = source.uid if source else "an unknown workload"
    default_port = next((mapping.target_port for mapping in owner.ports if mapping.service_port == target.port), None)
    if default_port is None:
        raise ResolutionError(f"service {owner.key} has no port {target.port}, which {asker} asked for")
    endpoints = service_endpoints(view, owner, network, target, default_port)
    if not endpoints:
        raise NoHealthyUpstream(f"service {owner.key} has no ready endpoint for port {target.port}, which {asker} asked for")
    return Route(owner, endpoints)


def service_endpoints(view: View, service: Service, network: str, target: SocketAddress, default_port: int) -> tuple[Endpoint, ...]:
    """Returns the healthy workloads of this network behind a port of a service, in the order of their uids.

    Args:
        default_port: of the service; 0 when the service names its target port, which each workload then numbers itself.
    """
    found = []
    for workload in sorted(view.endpoints(service.key), key=lambda workload: workload.uid):
        own = (mapping.target_port for mapping in workload.services.get(service.key, ()) if mapping.service_port == target.port)
        port = next(own, default_port)
        ip = _address_like(workload, target.ip)
        if workload.healthy and workload.network == network and port and ip is not None:
            found.append(Endpoint(workload, SocketAddress(ip, port)))
    return tuple(found)


def _address_like(workload: Workload, asked: IPAddress) -> IPAddress | None:
    same_family = (ip for ip in workload.addresses if ip.version == asked.version)
    return next(same_family, next(iter(workload.addresses), None))
