"""Services as their objects offer them, and what is left of the offers when two want the same name or address."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.claims import Claimant, Claims
from mesh.catalogue.index import SelectorIndex
from mesh.catalogue.instances import Instance, Nature
from mesh.model import IPAddress, PortMapping, Service

# The kind of the objects whose addresses Kubernetes gives out; no two of them have the same.
KUBERNETES_SERVICE = "Service"


@dataclass(frozen=True, slots=True)
class OfferedPort:
    """`target` is the number, or the name, of the port on the workload."""

    number: int
    name: str
    target: int | str


@dataclass(frozen=True, slots=True)
class Offer:
    """What a Service or a ServiceEntry says.

    Args:
        services: one for each hostname, no two of one hostname.
        selector: of the instances of the namespace that back all of them; empty: none.
        created: when the object was made; "" where nobody says.
    """

    origin: ObjectKey
    services: tuple[Service, ...]
    selector: Mapping[str, str]
    ports: tuple[OfferedPort, ...]
    created: str = ""

    def claimant(self, position: int) -> Claimant:
        return Claimant(self.origin.kind, not self.created, self.created, self.origin, position)

    def ports_on(self, instance: Instance) -> tuple[PortMapping, ...]:
        """Returns the ports as an instance serves them; one whose target it does not name is left out.

        A WorkloadEntry numbers the ports of services by their names; a pod only those that the service refers to by name.
        """
        numbered = ((port.number, self._target(port, instance)) for port in self.ports)
        return tuple(PortMapping(number, target) for number, target in numbered if target)

    def _target(self, port: OfferedPort, instance: Instance) -> int:
        if instance.nature is not Nature.POD and port.name in instance.named_ports:
            return instance.named_ports[port.name]
        return instance.named_ports.get(port.target, 0) if isinstance(port.target, str) else port.target


@dataclass(frozen=True, slots=True)
class OfferChange:
    """What a changed offer touches.

    Args:
        services: keys of services that may be different now.
        reselected: offers, as they were or are, whose instances may back other services now.
    """

    services: frozenset[str] = frozenset()
    reselected: tuple[Offer, ...] = ()


@dataclass(slots=True)
class OfferBook:
    """All offers, who owns which service and which virtual IP, and whom they select."""

    by_origin: dict[ObjectKey, Offer] = field(default_factory=dict)
    selectors: SelectorIndex[ObjectKey] = field(default_factory=SelectorIndex)
    _names: Claims[str] = field(default_factory=Claims)
    _addresses: Claims[tuple[str, IPAddress]] = field(default_factory=Claims)

    def put(self, origin: ObjectKey, offer: Offer | None) -> OfferChange:
        """Takes in an offer, or forgets it."""
        known = self.by_origin.get(origin)
        if known == offer:
            return OfferChange()
        versions = [one for one in (known, offer) if one is not None]
        owners_before = self._owners(versions)
        if known is not None:
            self._withdraw(known)
        if offer is not None:
            self._announce(offer)
        names = {service.key for one in versions for service in one.services}
        owners = owners_before | self._owners(versions)
        names.update(self._offer(owner, known).services[owner.position].key for owner in owners)
        rivals = {owner.origin for owner in owners} - {origin}
        return OfferChange(frozenset(names), (*self._reselected(known, offer), *(self.by_origin[rival] for rival in rivals)))

    def service(self, key: str, pod_addresses: Container[IPAddress]) -> Service | None:
        """Returns a service as the mesh sees it: with those of its addresses that are not another's.

        Kubernetes gives Services their addresses. A ServiceEntry may say any, and has none that a pod has: it would draw the pod's
        connections, and without a tunnel.
        """
        owner = self._names.owner(key)
        if owner is None:
            return None
        service = self.by_origin[owner.origin].services[owner.position]
        taken = pod_addresses if owner.origin.kind != KUBERNETES_SERVICE else ()
        owned = tuple(ip for ip in service.addresses if ip not in taken and self._addresses.owner((service.network, ip)) == owner)
        return service if owned == service.addresses else replace(service, addresses=owned)

    def claiming(self, network: str, addresses: Iterable[IPAddress]) -> Iterator[str]:
        """Yields the keys of the services that have these addresses, or would if no pod had."""
        owners = {self._addresses.owner((network, ip)) for ip in addresses}
        return (self.by_origin[owner.origin].services[owner.position].key for owner in owners if owner is not None)

    def owned_by(self, offer: Offer) -> Iterator[Service]:
        """Yields the services of an offer whose names are not another's."""
        for position, service in enumerate(offer.services):
            if self._names.owner(service.key) == offer.claimant(position):
                yield service

    def _offer(self, claimant: Claimant, withdrawn: Offer | None) -> Offer:
        """Returns the claimant's offer, as it was when it is no longer there or has fewer services."""
        offer = self.by_origin.get(claimant.origin)
        if offer is not None and claimant.position < len(offer.services):
            return offer
        assert withdrawn is not None
        return withdrawn

    def _owners(self, offers: list[Offer]) -> set[Claimant]:
        """Returns who owns the names and addresses that these offers want."""
        services = [service for offer in offers for service in offer.services]
        owners = {self._names.owner(service.key) for service in services}
        owners |= {self._addresses.owner((service.network, ip)) for service in services for ip in service.addresses}
        return {owner for owner in owners if owner is not None}

    def _reselected(self, known: Offer | None, offer: Offer | None) -> Iterator[Offer]:
        if known is None or offer is None or not _selects_alike(known, offer):
            yield from (one for one in (known, offer) if one is not None)

    def _announce(self, offer: Offer) -> None:
        self.by_origin[offer.origin] = offer
        if offer.selector:
            self.selectors.add(offer.origin, offer.origin.namespace, offer.selector)
        for position, service in enumerate(offer.services):
            claimant = offer.claimant(position)
            self._names.add(service.key, claimant)
            for ip in service.addresses:
                self._addresses.add((service.network, ip), claimant)

    def _withdraw(self, offer: Offer) -> None:
        del self.by_origin[offer.origin]
        if offer.selector:
            self.selectors.remove(offer.origin, offer.origin.namespace, offer.selector)
        for position, service in enumerate(offer.services):
            claimant = offer.claimant(position)
            self._names.remove(service.key, claimant)
            for ip in service.addresses:
                self._addresses.remove((service.network, ip), claimant)


def _selects_alike(one: Offer, other: Offer) -> bool:
    same_names = [service.key for service in one.services] == [service.key for service in other.services]
    return same_names and (one.selector, one.ports, one.created) == (other.selector, other.ports, other.created)
