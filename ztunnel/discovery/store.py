"""The workloads and services that the control plane told us of. Books only, no I/O: the reducer of delta responses.

Source: Envoy's xDS protocol, "Incremental xDS": a resource is named, versioned, replaced whole, and removed by name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesh.model import IPAddress, Service, Workload
from mesh.wire.convert import address_rank, is_authoritative, resource_names

Resource = Workload | Service


@dataclass(frozen=True, slots=True)
class Upsert:
    """A resource as one response gave it; `version` is the control plane's, opaque."""

    name: str
    version: str
    resource: Resource


@dataclass(frozen=True, slots=True)
class Update:
    """One response, checked. `removed` may hold primary names and aliases, known or not."""

    upserts: tuple[Upsert, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did.

    Args:
        appeared: names and aliases that mean something since.
        gone: names and aliases that mean nothing since, or never did.
        touched: something that was known before means something else now, so decisions made from it may be wrong.
        confirmed: names and aliases of what was told again as it is known.
    """

    appeared: frozenset[str]
    gone: frozenset[str]
    touched: bool
    confirmed: frozenset[str] = frozenset()


class Store:
    """Implements mesh.routing.View. The caller holds no lock: all happens on one thread, an update is one call."""

    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}
        self._versions: dict[str, str] = {}
        # Alias ("network/ip") to the primary names that own it, the latest last: a pod's address is given to the next
        # pod before its removal has been told.
        self._owners: dict[str, tuple[str, ...]] = {}
        # Service key to the uids that back it, in the order they came.
        self._backends: dict[str, dict[str, None]] = {}
        # Grows with every update that changed anything.
        self.generation = 0

    def find(self, network: str, ip: IPAddress) -> Resource | None:
        owners = self._owners.get(f"{network}/{ip}")
        return min((self._resources[owner] for owner in owners), key=address_rank) if owners else None

    def endpoints(self, service_key: str) -> Iterator[Workload]:
        for uid in self._backends.get(service_key, ()):
            workload = self._resources[uid]
            assert isinstance(workload, Workload)
            yield workload

    def workload(self, uid: str) -> Workload | None:
        resource = self._resources.get(uid)
        return resource if isinstance(resource, Workload) else None

    def service(self, key: str) -> Service | None:
        resource = self._resources.get(key)
        return resource if isinstance(resource, Service) else None

    def resources(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def versions(self) -> dict[str, str]:
        """Returns the version of each resource by primary name: what a reconnect tells the control plane that it has."""
        return dict(self._versions)

    def knows(self, name: str) -> bool:
        """Says whether a primary name or an alias means anything."""
        return name in self._resources or name in self._owners

    def certain(self, name: str) -> bool:
        """Says whether a name means something, and not perhaps another thing that nobody has asked for yet.

        What came as an endpoint of a service may have an address that is a pod's: anybody writes any address into his own objects.
        """
        return name in self._resources or any(is_authoritative(self._resources[owner]) for owner in self._owners.get(name, ()))

    def apply(self, update: Update) -> Change:
        """Takes over one response, whole: removals first, for an address may go from one resource to the next in it."""
        gone = set(update.removed)
        dropped = [owner for name in update.removed for owner in self._owners.get(name, (name,)) if owner in self._resources]
        for owner in dict.fromkeys(dropped):
            gone.update(self._drop(owner))
        confirmed = frozenset(
            name for upsert in update.upserts if self._holds(upsert) for name in (upsert.name, *_names(upsert.resource)[1])
        )
        fresh = frozenset(upsert.name for upsert in update.upserts if upsert.name not in self._resources)
        appeared: set[str] = set()
        touched = bool(dropped)
        for upsert in update.upserts:
            touched |= self._put(upsert, fresh, appeared)
        if touched or appeared:
            self.generation += 1
        return Change(frozenset(appeared), frozenset(name for name in gone if not self.knows(name)), touched, confirmed)

    def forget(self, keep: frozenset[str]) -> frozenset[str]:
        """Drops every resource whose primary name is not in `keep`; returns the names dropped."""
        dropped = frozenset(name for name in self._resources if name not in keep)
        for name in dropped:
            self._drop(name)
        if dropped:
            self.generation += 1
        return dropped

    def reachable(self, names: Iterable[str]) -> frozenset[str]:
        """Returns the primary names that these names and aliases lead to: owners, and the workloads behind services."""
        found: set[str] = set()
        for name in names:
            for owner in self._owners.get(name, (name,)):
                if owner in self._resources:
                    found.add(owner)
                    found.update(self._backends.get(owner, ()))
        return frozenset(found)

    def _holds(self, upsert: Upsert) -> bool:
        return self._resources.get(upsert.name) == upsert.resource

    def _put(self, upsert: Upsert, fresh: frozenset[str], appeared: set[str]) -> bool:
        """Stores a resource, adds its names to `appeared`, and says whether something known before means something else now.

        Args:
            fresh: primary names that this update brings for the first time: nothing was decided from them.
        """
        primary, aliases = _names(upsert.resource)
        assert primary == upsert.name
        before = self._resources.get(primary)
        self._versions[primary] = upsert.version
        if before == upsert.resource:
            return False
        touched = before is not None or any(alias in self._owners for alias in aliases)
        if before is not None:
            appeared.difference_update(self._drop(primary))
        self._versions[primary] = upsert.version
        self._resources[primary] = upsert.resource
        for alias in aliases:
            self._owners[alias] = (*self._owners.get(alias, ()), primary)
        for key in _backed_by(upsert.resource):
            self._backends.setdefault(key, {})[primary] = None
            touched |= key in self._resources and key not in fresh
        appeared.update((primary, *aliases))
        return touched

    def _drop(self, primary: str) -> tuple[str, ...]:
        """Removes a resource that is there; returns the names that it had."""
        resource = self._resources.pop(primary)
        del self._versions[primary]
        _, aliases = _names(resource)
        for alias in aliases:
            owners = tuple(owner for owner in self._owners[alias] if owner != primary)
            if owners:
                self._owners[alias] = owners
            else:
                del self._owners[alias]
        for key in _backed_by(resource):
            del self._backends[key][primary]
            if not self._backends[key]:
                del self._backends[key]
        return (primary, *aliases)


def _names(resource: Resource) -> tuple[str, tuple[str, ...]]:
    primary, aliases = resource_names(resource)
    return primary, tuple(dict.fromkeys(aliases))


def _backed_by(resource: Resource) -> tuple[str, ...]:
    return tuple(resource.services) if isinstance(resource, Workload) else ()
