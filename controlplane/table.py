"""All resources of one type, by every name, and which names changed since a reader last looked. No I/O.

A change costs what it touches and not what the table holds.
"""

from collections import deque
from collections.abc import Iterator, Mapping

from controlplane.resources import Resource, Source
from mesh.model import Service
from mesh.policy.model import Authorization
from mesh.wire.convert import address_rank

# What a reader may be behind: a restart of a large Deployment. Who is further behind compares everything it holds, which is
# cheaper than so many names one by one.
MAX_LOGGED_NAMES = 20_000


class Table:
    """Resources by primary name; `generation` is of the mesh when it last changed, 0 before it did.

    Several resources may have an alias in common (an address that goes from one pod to the next); the alias then means
    the first of them by `address_rank`.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.by_name: dict[str, Resource] = {}
        # The resources that have an alias, what it means first.
        self._owners: dict[str, tuple[Resource, ...]] = {}
        # The primary names of the workloads behind a service, by its key; also of services that are not there.
        self._backing: dict[str, dict[str, None]] = {}
        # For each generation after `_complete_since`: the names, primary and alias, that may mean something else since.
        self._log: deque[tuple[int, frozenset[str]]] = deque()
        self._logged = 0
        self._complete_since = 0

    def update(self, changes: Mapping[str, Source | None], generation: int) -> None:
        """Takes over the changes of one generation, by primary name; a value of None is gone."""
        if not changes:
            return
        touched: set[str] = set()
        for name, source in changes.items():
            before = self.by_name.pop(name, None)
            if before is not None:
                self._withdraw(before, touched)
            if source is not None:
                self._enter(Resource(source), touched)
            self._touch_backing(before, self.by_name.get(name), touched)
            touched.add(name)
        self.generation = generation
        self._append(frozenset(touched))

    def resolve(self, name: str) -> Resource | None:
        """Returns what a primary name or an alias means."""
        owners = self._owners.get(name)
        return self.by_name.get(name) or (owners[0] if owners else None)

    def brings(self, name: str) -> Iterator[str]:
        """Yields the primary names that a subscription to `name` brings; none when nothing has that name.

        A service brings its workloads, since a connection to it needs them at once.
        """
        found = self.resolve(name)
        if found is not None:
            yield found.name
            yield from self._backing.get(found.name, ())

    def changed_since(self, generation: int) -> frozenset[str] | None:
        """Returns the names, primary and alias, that may mean something else than after `generation`; None: who knows."""
        if generation >= self.generation:
            return frozenset()
        if generation < self._complete_since:
            return None
        changed: set[str] = set()
        for at, names in reversed(self._log):
            if at <= generation:
                break
            changed |= names
        return frozenset(changed)

    def _enter(self, resource: Resource, touched: set[str]) -> None:
        self.by_name[resource.name] = resource
        for alias in resource.aliases:
            others = [other for other in self._owners.get(alias, ()) if other is not resource]
            self._touch_owners(alias, others, touched)
            self._owners[alias] = tuple(sorted((*others, resource), key=_rank)) if others else (resource,)
        for service in resource.services:
            self._backing.setdefault(service, {})[resource.name] = None

    def _withdraw(self, resource: Resource, touched: set[str]) -> None:
        for alias in dict.fromkeys(resource.aliases):
            others = [other for other in self._owners[alias] if other is not resource]
            self._touch_owners(alias, others, touched)
            if others:
                self._owners[alias] = tuple(others)
            else:
                del self._owners[alias]
        for service in resource.services:
            backing = self._backing[service]
            del backing[resource.name]
            if not backing:
                del self._backing[service]

    def _touch_owners(self, alias: str, others: list[Resource], touched: set[str]) -> None:
        """The alias may mean another of its owners from now on, which itself did not change."""
        touched.add(alias)
        for other in others:
            touched.add(other.name)
            touched.update(self._backing.get(other.name, ()))

    def _touch_backing(self, before: Resource | None, after: Resource | None, touched: set[str]) -> None:
        """A service that comes, goes or is called otherwise takes its workloads with it."""
        known = after or before
        renamed = before is None or after is None or before.aliases != after.aliases
        if renamed and known is not None and isinstance(known.source, Service):
            touched.update(self._backing.get(known.name, ()))

    def _append(self, names: frozenset[str]) -> None:
        self._log.append((self.generation, names))
        self._logged += len(names)
        while self._logged > MAX_LOGGED_NAMES:
            self._complete_since, dropped = self._log.popleft()
            self._logged -= len(dropped)


def _rank(resource: Resource) -> tuple[bool, bool, bool, str]:
    """Only workloads and services have aliases."""
    assert not isinstance(resource.source, Authorization)
    return address_rank(resource.source)
