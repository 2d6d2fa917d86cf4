"""What one client wants of one resource type, what it holds, and so what it must be sent. No I/O.

Each response costs what changed since the last one, and what the client asked for since; only a new stream, or one that is far
behind, has all that it holds compared. Source: xDS protocol, "Incremental xDS"; on-demand subscription to addresses as Istio's
control plane answers it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.resources import Resource
from controlplane.status import Status
from controlplane.table import Table
from mesh.errors import RemoteProtocolError

WILDCARD = "*"
# A node asks for what its pods talk to; whoever wants more should subscribe to everything.
MAX_NAMES = 50_000
# "namespace/hostname", "network/ip" or a uid, with room for long clusters and names.
MAX_NAME_LENGTH = 1100
# So many names of 160 characters: a client has a subscription to each of several types.
MAX_NAMES_LENGTH = 8_000_000
# Who had everything of a cluster of 100,000 workloads before a reconnect says so, and twice that; nor can anybody give up more.
MAX_VERSIONS = 250_000
# gRPC clients refuse messages over 4 MiB by default; what does not fit follows after the acknowledgement.
MAX_RESPONSE_BYTES = 3 * 2**20
MAX_REMOVED_NAMES = 8_000
# What a client that asks and forgets, and acknowledges nothing, can pile up before everything is compared instead.
MAX_PENDING = 250_000
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Request:
    """What a DeltaDiscoveryRequest says of a subscription.

    Args:
        versions: of what the client holds from before, by primary name; only the first request of a stream says it.
    """

    subscribe: Sequence[str] = ()
    unsubscribe: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What a DeltaDiscoveryResponse is to say."""

    generation: int
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


class Subscription:
    """The state of one type on one stream. It begins with the first request; one that names nothing wants everything.

    Raises (constructor):
        RemoteProtocolError: more names than one client may have.
    """

    __slots__ = ("_absent", "_held", "_leaving", "_pending", "_scope", "_seen", "_unanswered", "names", "wildcard")

    def __init__(self, request: Request) -> None:
        if len(request.versions) > MAX_VERSIONS:
            raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"more than {MAX_VERSIONS} versions")
        self.wildcard = not request.subscribe
        # Wanted by name, as the client spells them.
        self.names: set[str] = set()
        # Versions of what the client has been sent, by primary name; "": to be sent again.
        self._held = dict(request.versions)
        # Of `names`, those that the client has been told do not exist.
        self._absent: set[str] = set()
        # What a wildcard means; None: everything.
        self._scope: frozenset[str] | None = None
        # Names to compare, in this order; and the generation up to which that has all been noted.
        self._pending: dict[str, None] = {}
        self._seen = _NEVER
        # Of what the client holds, what it is to drop, and the generation in which that was found.
        self._leaving: dict[str, int] = {}
        # The first request has had no response yet; it gets one, even an empty one.
        self._unanswered = True
        self._change_names(request)

    def change(self, request: Request, table: Table) -> None:
        """Applies a later request. What it subscribes to is sent again, even where the client should still hold it.

        Raises:
            RemoteProtocolError: more names than one client may have.
        A name that is repeated counts once: what it brings may be thousands of resources.
        Source: xDS protocol: a client may have dropped a resource and asked for it anew before it unsubscribed.
        """
        if len(asked := frozenset(request.subscribe)) > MAX_NAMES or len(dropped := frozenset(request.unsubscribe)) > MAX_VERSIONS:
            raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, "more resource names than a client may name at once")
        for name in (brought for one in asked for brought in table.brings(one)):
            if name in self._held:
                self._held[name] = ""
        self._absent.difference_update(asked)
        if self._change_names(request):
            self._seen = _NEVER
        else:
            concerned = asked | dropped
            self._note({*concerned, *(brought for name in concerned for brought in table.brings(name))})

    def narrow(self, scope: frozenset[str]) -> None:
        """Says what a wildcard means from now on, by primary names."""
        if self._scope is None:
            self._seen = _NEVER
        else:
            self._note(self._scope ^ scope)
        self._scope = scope

    def settled(self, table: Table) -> bool:
        """Whether the client has been sent all that it is to have, acknowledged or not; it may still hold what it is to drop."""
        self._catch_up(table)
        return not self._unanswered and all(name in self._leaving and self._unwanted(name, table) for name in self._pending)

    def next_response(self, table: Table, now: int = 0, told: int = 0) -> Response | None:
        """Compares what the client holds with what it wants.

        Args:
            now: the generation of the mesh.
            told: what was found to be dropped after this generation is not told yet.
        Returns:
            what the client is now taken to hold besides; None when there is nothing to say.
        """
        self._catch_up(table)
        resources: list[Resource] = []
        removed: list[str] = []
        compared = []
        size = 0
        for name in self._pending:
            stale = self._stale(name, table)
            if stale is not None:
                size += len(stale.field)
                if size > MAX_RESPONSE_BYTES and resources:
                    break
                resources.append(stale)
                self._held[stale.name] = stale.version
            if self._stays(name, table, now, told):
                continue
            if self._must_go(name, table):
                removed.append(name)
            compared.append(name)
            if len(removed) == MAX_REMOVED_NAMES:
                break
        for name in compared:
            del self._pending[name]
        if not (resources or removed or self._unanswered):
            return None
        self._unanswered = False
        return Response(table.generation, tuple(resources), tuple(removed))

    def _stale(self, name: str, table: Table) -> Resource | None:
        resource = table.by_name.get(name)
        if resource is None or not self._wants(resource, table) or self._held.get(name) == resource.version:
            return None
        return resource

    def _unwanted(self, name: str, table: Table) -> bool:
        resource = table.by_name.get(name)
        return resource is None or not self._wants(resource, table)

    def _stays(self, name: str, table: Table, now: int, told: int) -> bool:
        """Whether the client is to drop what it holds by this name, and not yet."""
        if name in self._held and self._unwanted(name, table) and self._leaving.setdefault(name, now) > told:
            return True
        self._leaving.pop(name, None)
        return False

    def _must_go(self, name: str, table: Table) -> bool:
        """Whether the client is to be told that nothing has this name, or that it is not to keep what has; notes that it is."""
        gone = self._unwanted(name, table) and self._held.pop(name, None) is not None
        if name not in self.names or table.resolve(name) is not None:
            self._absent.discard(name)
            return gone
        missing = name not in self._absent
        self._absent.add(name)
        return gone or missing

    def _catch_up(self, table: Table) -> None:
        """Notes the names that must be compared since the last time."""
        changed = None if self._seen == _NEVER or len(self._pending) > MAX_PENDING else table.changed_since(self._seen)
        if changed is None:
            self._pending.clear()
            self._note({*self._held, *self.names, *self._wanted(table)})
        elif changed:
            self._note(name for name in changed if self._concerned(name, table))
        self._seen = table.generation

    def _concerned(self, name: str, table: Table) -> bool:
        resource = table.by_name.get(name)
        return name in self._held or name in self.names or (resource is not None and self._wants(resource, table))

    def _note(self, names: Iterable[str]) -> None:
        self._pending.update(dict.fromkeys(sorted(names)))

    def _wanted(self, table: Table) -> Iterator[str]:
        if self.wildcard:
            yield from table.by_name if self._scope is None else self._scope
        for name in self.names:
            yield from table.brings(name)

    def _wants(self, resource: Resource, table: Table) -> bool:
        if self.wildcard and (self._scope is None or resource.name in self._scope):
            return True
        if self._names(resource, table):
            return True
        services = (table.by_name.get(key) for key in resource.services)
        return any(service is not None and self._names(service, table) for service in services)

    def _names(self, resource: Resource, table: Table) -> bool:
        """Whether the client named it, or an address that means it."""
        names = self.names
        return resource.name in names or any(alias in names and table.resolve(alias) is resource for alias in resource.aliases)

    def _change_names(self, request: Request) -> bool:
        """Subscribes, then unsubscribes: a client that wants nothing at first says "*" in both. Returns whether the wildcard changed."""
        if any(len(name) > MAX_NAME_LENGTH for name in request.subscribe):
            raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"a resource name has more than {MAX_NAME_LENGTH} characters")
        before = self.wildcard
        self.names.update(request.subscribe)
        self.names.difference_update(request.unsubscribe, (WILDCARD,))
        self._absent.difference_update(request.unsubscribe)
        if len(self.names) > MAX_NAMES:
            raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"more than {MAX_NAMES} resource names")
        if sum(map(len, self.names)) > MAX_NAMES_LENGTH:
            raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"resource names of more than {MAX_NAMES_LENGTH} characters")
        self.wildcard = (before or WILDCARD in request.subscribe) and WILDCARD not in request.unsubscribe
        return self.wildcard is not before
