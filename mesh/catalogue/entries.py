"""From a ServiceEntry to the services that it makes, their endpoints, and what is said of it in its status."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mesh.catalogue.balancing import preferred
from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.endpoints import EndpointList, Listed
from mesh.catalogue.machines import EntryName, read_address
from mesh.catalogue.offers import Offer, OfferedPort
from mesh.kubernetes import ServiceEntry, WorkloadEntrySpec
from mesh.limits import MAX_PORTS
from mesh.model import BalancingMode, IPAddress, LoadBalancing, PortMapping, Service
from mesh.policy.conditions import Condition, ConditionType, Problem, Reason, accepted, listed
from mesh.settings import MeshSettings

_EVERYWHERE = "*"
_WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """Args:
    offer: None when the entry asks for what layer 4 cannot do at all.
    endpoints: those that it lists itself.
    """

    offer: Offer | None
    endpoints: EndpointList
    conditions: tuple[Condition, ...]


def read_service_entry(key: ObjectKey, entry: ServiceEntry, settings: MeshSettings) -> ReadEntry:
    """Reads one entry. It never fails: what cannot be done is left out, and its status says so.

    Location changes nothing at layer 4: whether an endpoint is reached by tunnel is said by the endpoint.
    Source: Istio's reference of ServiceEntry.
    """
    spec, problems = entry.spec, tuple(_problems(entry))
    offered = spec.resolution != "DYNAMIC_DNS"
    streams = (port for port in spec.ports if port.protocol != "UDP")
    ports = tuple(OfferedPort(port.number, port.name, port.target_port or port.number) for port in islice(streams, MAX_PORTS))
    selector = spec.workload_selector.labels if spec.workload_selector is not None else {}
    offer = Offer(key, tuple(_services(entry, ports, settings)), selector, ports, entry.metadata.creation_timestamp)
    endpoints = dict(_endpoints(entry, offer, settings)) if offered else {}
    status = (Condition(ConditionType.ACCEPTED, False, problems[0].reason, listed(problems)),) if problems else (accepted(),)
    return ReadEntry(offer if offered else None, EndpointList(key, endpoints), status)


def _services(entry: ServiceEntry, ports: tuple[OfferedPort, ...], settings: MeshSettings) -> Iterator[Service]:
    """Yields a service for each host; all have the same addresses, so that the first of them owns these."""
    for host in dict.fromkeys(entry.spec.hosts):
        yield Service(
            name=entry.metadata.name,
            namespace=entry.metadata.namespace,
            hostname=host,
            addresses=tuple(_addresses(entry)),
            ports=tuple(PortMapping(port.number, port.target) for port in ports if isinstance(port.target, int)),
            network=settings.network,
            load_balancing=_load_balancing(entry),
            subject_alt_names=entry.spec.subject_alt_names,
        )


def _load_balancing(entry: ServiceEntry) -> LoadBalancing:
    if entry.spec.resolution == "NONE":
        return LoadBalancing(mode=BalancingMode.PASSTHROUGH)
    return preferred("", entry.metadata.annotations)


def _addresses(entry: ServiceEntry) -> Iterator[IPAddress]:
    singles = (network.network_address for network in entry.spec.addresses if network.num_addresses == 1)
    yield from dict.fromkeys(singles)


def _endpoints(entry: ServiceEntry, offer: Offer, settings: MeshSettings) -> Iterator[tuple[str, Listed]]:
    if entry.spec.workload_selector is not None or entry.spec.resolution == "NONE":
        return
    if entry.spec.endpoints:
        yield from _written_endpoints(entry, offer, settings)
    elif entry.spec.resolution.startswith("DNS"):
        yield from _hosts_as_endpoints(entry, offer, settings)


def _written_endpoints(entry: ServiceEntry, offer: Offer, settings: MeshSettings) -> Iterator[tuple[str, Listed]]:
    """Yields the endpoints of the entry. One address may stand there several times, with other ports: the later ones are numbered."""
    seen = set[str]()
    for position, spec in enumerate(entry.spec.endpoints):
        if not _usable(entry, spec):
            continue
        part = str(spec.address) if str(spec.address) not in seen else f"{spec.address}-{position}"
        seen.add(str(spec.address))
        instance = read_address(EntryName("ServiceEntry", entry.metadata.namespace, entry.metadata.name, part), spec, settings)
        yield instance.workload.uid, Listed(offer.ports_on(instance), instance)


def _hosts_as_endpoints(entry: ServiceEntry, offer: Offer, settings: MeshSettings) -> Iterator[tuple[str, Listed]]:
    """Yields what DNS resolution means where there are no endpoints: each host is the one endpoint of its own service."""
    for service in offer.services:
        if not service.hostname.startswith(_WILDCARD):
            name = EntryName("ServiceEntry", entry.metadata.namespace, entry.metadata.name, service.hostname)
            instance = read_address(name, WorkloadEntrySpec(address=service.hostname), settings)
            yield instance.workload.uid, Listed(offer.ports_on(instance), instance, service.hostname)


def _usable(entry: ServiceEntry, spec: WorkloadEntrySpec) -> bool:
    return bool(spec.address) and (not isinstance(spec.address, str) or entry.spec.resolution.startswith("DNS"))


def _problems(entry: ServiceEntry) -> Iterator[Problem]:
    spec = entry.spec
    if spec.resolution == "DYNAMIC_DNS":
        yield Problem("spec.resolution", Reason.UNSUPPORTED_VALUE, "DYNAMIC_DNS needs a waypoint; the entry has no effect")
    for position, network in enumerate(spec.addresses):
        if network.num_addresses > 1:
            explanation = f"{network} is more than a single address (/32, /128); it is left out"
            yield Problem(f"spec.addresses.{position}", Reason.UNSUPPORTED_VALUE, explanation)
    if any(scope != _EVERYWHERE for scope in spec.export_to):
        yield Problem("spec.exportTo", Reason.UNSUPPORTED_VALUE, "layer 4 knows no visibility; the entry holds for all namespaces")
    if len(spec.ports) > MAX_PORTS:
        yield Problem("spec.ports", Reason.TOO_LARGE, f"more than {MAX_PORTS}; the rest is left out")
    yield from _problems_of_endpoints(entry)


def _problems_of_endpoints(entry: ServiceEntry) -> Iterator[Problem]:
    spec = entry.spec
    if spec.endpoints and spec.workload_selector is not None:
        yield Problem("spec.endpoints", Reason.CONTRADICTION, "cannot stand beside workloadSelector; they are left out")
    elif spec.endpoints and spec.resolution == "NONE":
        yield Problem("spec.endpoints", Reason.CONTRADICTION, "resolution NONE has no endpoints; they are left out")
    elif spec.workload_selector is None and not spec.endpoints and spec.resolution.startswith("DNS"):
        for position, host in enumerate(spec.hosts):
            if host.startswith(_WILDCARD):
                yield Problem(f"spec.hosts.{position}", Reason.UNSUPPORTED_VALUE, f"{host} is no name to resolve; it needs endpoints")
    else:
        for position, endpoint in enumerate(spec.endpoints):
            if not _usable(entry, endpoint):
                explanation = "neither an address, nor a name beside resolution DNS; the endpoint is left out"
                yield Problem(f"spec.endpoints.{position}.address", Reason.UNSUPPORTED_VALUE, explanation)
