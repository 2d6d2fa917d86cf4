"""Endpoints that an object lists by itself, without a selector: those of EndpointSlices and of ServiceEntries."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.instances import Instance
from mesh.model import PortMapping


@dataclass(frozen=True, slots=True)
class Listed:
    """One endpoint of a list.

    Args:
        ports: of the service, as this endpoint serves them.
        instance: of the endpoint's own; None: a pod, which has another object.
        hostname: it backs only the service of this hostname; "": all that the offer makes.
    """

    ports: tuple[PortMapping, ...]
    instance: Instance | None = None
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class EndpointList:
    """Args:
    service: the Service or ServiceEntry that they back.
    endpoints: by uid.
    """

    service: ObjectKey
    endpoints: Mapping[str, Listed]


@dataclass(slots=True)
class EndpointBook:
    """The lists, by the object that holds each, by service and by endpoint."""

    lists: dict[ObjectKey, EndpointList] = field(default_factory=dict)
    _of_service: dict[ObjectKey, set[ObjectKey]] = field(default_factory=dict)
    _naming: dict[str, set[ObjectKey]] = field(default_factory=dict)

    def put(self, source: ObjectKey, after: EndpointList | None) -> tuple[EndpointList | None, bool]:
        """Takes in a list, or forgets it; returns the one before, and whether that made a difference."""
        before = self.lists.get(source)
        if before == after:
            return before, False
        if before is not None:
            self._unfile(source, before)
        if after is not None:
            self.lists[source] = after
            self._of_service.setdefault(after.service, set()).add(source)
            for uid in after.endpoints:
                self._naming.setdefault(uid, set()).add(source)
        return before, True

    def naming(self, uid: str) -> Iterator[tuple[ObjectKey, Listed]]:
        """Yields each service that a list names an endpoint for, in an order that does not depend on history."""
        for source in sorted(self._naming.get(uid, ())):
            found = self.lists[source]
            yield found.service, found.endpoints[uid]

    def backing(self, service: ObjectKey) -> Iterable[str]:
        """Yields the uids of a service's listed endpoints."""
        return (uid for source in self._of_service.get(service, ()) for uid in self.lists[source].endpoints)

    def _unfile(self, source: ObjectKey, known: EndpointList) -> None:
        del self.lists[source]
        sources = self._of_service[known.service]
        sources.remove(source)
        if not sources:
            del self._of_service[known.service]
        for uid in known.endpoints:
            self._naming[uid].remove(source)
            if not self._naming[uid]:
                del self._naming[uid]
