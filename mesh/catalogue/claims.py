"""Who owns what only one can own, when several say that it is theirs."""

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from mesh.catalogue.changes import ObjectKey

K = TypeVar("K", bound=Hashable)


class Claimant(NamedTuple):
    """One of the services that an object makes.

    Args:
        undated, created: when the object was made, as Kubernetes says it; what has no time is younger than all that have one.
    """

    kind: str
    undated: bool
    created: str
    origin: ObjectKey
    position: int


class Claims(Generic[K]):
    """The first claimant owns: a Service before a ServiceEntry, then the oldest, then by namespace and name.

    Nobody takes what is another's by a name of his own choosing, and the order of their coming here decides nothing.
    """

    def __init__(self) -> None:
        self._claimants: dict[K, list[Claimant]] = {}

    def add(self, thing: K, claimant: Claimant) -> None:
        insort(self._claimants.setdefault(thing, []), claimant)

    def remove(self, thing: K, claimant: Claimant) -> None:
        claimants = self._claimants[thing]
        del claimants[bisect_left(claimants, claimant)]
        if not claimants:
            del self._claimants[thing]

    def owner(self, thing: K) -> Claimant | None:
        claimants = self._claimants.get(thing)
        return claimants[0] if claimants else None
