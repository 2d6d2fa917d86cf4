"""Where a connection goes: from an intended destination to the workloads that may serve it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.balancing import kept, preferred
from mesh.errors import NoHealthyUpstream, ResolutionError
from mesh.model import BalancingMode, IPAddress, Service, SocketAddress, Workload

# Addresses of one hostname that are used: names with more answer with others of them from time to time.
MAX_ADDRESSES_OF_NAME = 8
# Can be divided by every number up to MAX_ADDRESSES_OF_NAME: the addresses of a name share its weight.
_SHARES = math.lcm(*range(1, MAX_ADDRESSES_OF_NAME + 1))

# The addresses that a hostname has, as far as they are known now.
AddressesOf = Callable[[str], Sequence[IPAddress]]


class View(Protocol):
    """What a node knows of the mesh: a whole snapshot, or the part that it subscribed to."""

    def find(self, network: str, ip: IPAddress) -> Workload | Service | None:
        """Returns the owner of an address: a service for a virtual IP, a workload for its own, None for a stranger."""

    def endpoints(self, service_key: str) -> Iterable[Workload]:
        """Returns the workloads that back a service ("namespace/hostname"), healthy or not, in any order."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a workload that may take a connection.

    Args:
        address: the workload's address of the family asked for (else another) and its target port.
        weight: how often its turn comes, beside the others of the route.
    """

    workload: Workload
    address: SocketAddress
    weight: int = 1


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
    """Connect to the destination unchanged: nobody in the mesh owns it, or `service` does and wants it so."""

    target: SocketAddress
    service: Service | None = None


def no_addresses(_: str) -> Sequence[IPAddress]:
    """Of a hostname that nobody has looked up."""
    return ()


def resolve(
    view: View, source: Workload | None, network: str, target: SocketAddress, addresses_of: AddressesOf = no_addresses
) -> Route | Passthrough:
    """Chooses the endpoints for one captured connection.

    A workload that is asked for by its own address is an endpoint even when it is not ready: readiness is a rule of services.

    Args:
        source: who asks, where it is known: endpoints near it may be preferred, and errors name it.
        network: the network that the source is on; there is no way to another one.
        target: the original destination, as the application asked for it.
        addresses_of: for endpoints with a hostname instead of addresses; see `hostnames_needed`.
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
    if all(mapping.service_port != target.port for mapping in owner.ports):
        raise ResolutionError(f"service {owner.key} has no port {target.port}, which {asker} asked for")
    if owner.load_balancing.mode is BalancingMode.PASSTHROUGH:
        return Passthrough(target, owner)
    endpoints = _service_endpoints(view, owner, source, network, target, addresses_of)
    if not endpoints:
        raise NoHealthyUpstream(f"service {owner.key} has no ready endpoint for port {target.port}, which {asker} asked for")
    return Route(owner, endpoints)


def hostnames_needed(view: View, network: str, target: SocketAddress) -> tuple[str, ...]:
    """Returns the hostnames whose addresses `resolve` asks for, in alphabetical order."""
    owner = view.find(network, target.ip)
    if not isinstance(owner, Service) or owner.load_balancing.mode is BalancingMode.PASSTHROUGH:
        return ()
    usable = _usable(view, owner, network, target.port)
    return tuple(sorted({workload.hostname for workload, _ in usable.values() if workload.hostname and not workload.addresses}))


def _service_endpoints(
    view: View, service: Service, source: Workload | None, network: str, target: SocketAddress, addresses_of: AddressesOf
) -> tuple[Endpoint, ...]:
    """Returns the endpoints behind a port of a service that a connection may take, in the order of their uids.

    With session affinity that is the one that the client keeps.
    """
    ports = _usable(view, service, network, target.port)
    addresses = {uid: _addresses(workload, target.ip, addresses_of) for uid, (workload, _) in ports.items()}
    there = [workload for uid, (workload, _) in ports.items() if addresses[uid]]
    found = []
    for workload in preferred(source, there, service.load_balancing):
        (_, port), ips = ports[workload.uid], addresses[workload.uid]
        found += [Endpoint(workload, SocketAddress(ip, port), workload.capacity * (_SHARES // len(ips))) for ip in ips]
    if found and service.load_balancing.affinity_s:
        names = [f"{endpoint.workload.uid} {endpoint.address}" for endpoint in found]
        chosen = found[kept(_client(source, target.ip), names, [endpoint.weight for endpoint in found])]
        return (Endpoint(chosen.workload, chosen.address),)
    divisor = math.gcd(*(endpoint.weight for endpoint in found)) or 1
    return tuple(Endpoint(one.workload, one.address, one.weight // divisor) for one in found)


def _usable(view: View, service: Service, network: str, service_port: int) -> dict[str, tuple[Workload, int]]:
    """Returns the workloads behind a port that may be used from a network, with their own ports, in the order of their uids."""
    default = next((mapping.target_port for mapping in service.ports if mapping.service_port == service_port), 0)
    unready_too = service.load_balancing.unready_too
    usable = {}
    for workload in view.endpoints(service.key):
        if (workload.healthy or unready_too) and workload.network == network and workload.capacity:
            port = _own_port(workload, service.key, service_port, default)
            if port:
                usable[workload.uid] = workload, port
    return dict(sorted(usable.items()))


def _own_port(workload: Workload, service_key: str, service_port: int, default: int) -> int:
    """Returns the workload's own port, else the service's; 0 when the service names its target port and the workload lacks it."""
    for mapping in workload.services.get(service_key, ()):
        if mapping.service_port == service_port:
            return mapping.target_port
    return default


def _addresses(workload: Workload, asked: IPAddress, addresses_of: AddressesOf) -> tuple[IPAddress, ...]:
    """Returns the workload's one address that is used, or those of its hostname: of the family asked for, else of another."""
    if workload.addresses:
        for ip in workload.addresses:
            if ip.version == asked.version:
                return (ip,)
        return (workload.addresses[0],)
    resolved = addresses_of(workload.hostname) if workload.hostname else ()
    same = tuple(ip for ip in resolved if ip.version == asked.version)
    return (same or tuple(resolved))[:MAX_ADDRESSES_OF_NAME]


def _client(source: Workload | None, asked: IPAddress) -> str:
    """Returns what session affinity knows a client by: its address of the family asked for."""
    if source is None:
        return ""
    same_family = (ip for ip in source.addresses if ip.version == asked.version)
    return str(next(same_family, next(iter(source.addresses), source.uid)))
