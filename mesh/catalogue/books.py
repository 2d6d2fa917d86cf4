"""All that the catalogue keeps of the objects that it has seen."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.endpoints import EndpointBook
from mesh.catalogue.index import Selection
from mesh.catalogue.instances import InstanceBook
from mesh.catalogue.mutual_tls import MutualTlsShelf
from mesh.catalogue.offers import Offer, OfferBook
from mesh.catalogue.policies import PolicyShelf
from mesh.catalogue.sharing import Sharing
from mesh.catalogue.slices import SliceBook
from mesh.model import Locality
from mesh.policy.conditions import Condition
from mesh.settings import MeshSettings


@dataclass(slots=True)
class Touched:
    """What a batch of changes may have made different.

    Args:
        instances: uids.
        services, policies: their keys.
        slices: keys of EndpointSlices.
    """

    instances: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    slices: set[ObjectKey] = field(default_factory=set)


class Books:
    """What is known, in indexes that answer who is touched by a change.

    Args:
        modes: the word of each namespace on whether its pods are in the mesh; None: it has none.
        localities: of the nodes.
        entry_conditions: of the ServiceEntries.
    """

    def __init__(self, settings: MeshSettings) -> None:
        self.settings = settings
        self.sharing = Sharing()
        self.modes: dict[str, str | None] = {}
        self.localities: dict[str, Locality] = {}
        self.instances = InstanceBook()
        self.offers = OfferBook()
        self.endpoints = EndpointBook()
        self.slices = SliceBook()
        self.policies = PolicyShelf(settings)
        self.mutual_tls = MutualTlsShelf(settings)
        self.entry_conditions: dict[ObjectKey, tuple[Condition, ...]] = {}

    def selected(self, selection: Selection) -> Iterable[str]:
        """Returns the uids of the instances that a policy holds for."""
        namespace, labels = selection.namespace, selection.labels
        if labels:
            return (
                self.instances.labels.carrying_anywhere(labels) if namespace is None else self.instances.labels.carrying(namespace, labels)
            )
        return self.instances.by_uid if namespace is None else self.instances.by_namespace.get(namespace, ())

    def backing(self, offer: Offer) -> Iterable[str]:
        """Yields the uids of the instances that back an offer's services, or would if their names were not another's."""
        yield from self.instances.labels.carrying(offer.origin.namespace, offer.selector)
        yield from self.endpoints.backing(offer.origin)
