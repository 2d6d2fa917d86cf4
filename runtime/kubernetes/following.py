"""Following the objects of one kind by list and watch: what to ask next, and what an answer changes. No I/O.

A list tells everything as of one version of the cluster, a watch every change after it. A watch that broke goes on where it was. Only where
the server no longer knows that version (410 Gone) there is another list; what is known already and has not changed since is not told again.
Source: Kubernetes, "API Concepts", efficient detection of changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.errors import ApiError, BrokenAnswer, MeshError
from runtime.backoff import Backoff
from runtime.kubernetes.resources import Resource

# Half a second to begin with: most failures are one connection. After a minute without an API server nothing here is in a hurry.
RETRY = Backoff(first_s=0.5, limit_s=30.0)
# Whoever installs a kind waits so long at most.
ABSENT = Backoff(first_s=30.0, limit_s=30.0)
# One answer is not believed that a kind is not there, for policies may be of it: a server that starts, or one of several, may not know it
# yet. (While it starts, Kubernetes' own says 503: seen with 1.34.)
CONFIRM = Backoff(first_s=3.0, limit_s=3.0)
_ABSENCES = 2
# Of pods, some 2 MB: 40 ms of the event loop's time.
PAGE_SIZE = 250
# What does not fit into an answer is asked for in smaller pages.
_PAGE_SHRINKS_BY = 5
# The server ends a watch after a while, so that connections spread over its replicas. Source: client-go, reflector: 5 to 10 minutes.
WATCH_LASTS_S = 300
# A watch that ends sooner than that without a word is a failure: without a wait it would be asked for again and again.
_SHORT_WATCH_S = 1.0
# Answers in a row that make no sense after which what is known is no base to go on from.
_MOST_BROKEN = 3
# Source: Kubernetes, "API Concepts", "Unavailable resource versions".
_TOO_LARGE_VERSION = "ResourceVersionTooLarge"

_EVENTS = frozenset(("ADDED", "MODIFIED", "DELETED", "BOOKMARK"))


class Name(NamedTuple):
    """Of an object; `namespace` is "" where the kind has none."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """An object as it is now, as JSON, without its managedFields; None: it is gone."""

    name: Name
    data: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one answer changed. `listed`: it completes a list, so that everything has been told."""

    changes: list[Change]
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects, and how much of them.

    Args:
        namespace: "": of all.
        fields, labels: selectors as Kubernetes writes them, such as "spec.nodeName=node1".
        metadata_only: apiVersion, kind and metadata are all that is told.
        from_cache: the first list may come from the server's cache and be a little old; it is then not paged. For those of whom there are
            many in a cluster, and who select few objects: the server would read all of the kind from its store for each.
    """

    namespace: str = ""
    fields: str = ""
    labels: str = ""
    metadata_only: bool = False
    from_cache: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What to ask next: after `wait_s` seconds, a page of a list or a watch (`watch`)."""

    resource: Resource
    query: Mapping[str, str]
    watch: bool
    wait_s: float


@dataclass(slots=True)
class Following:
    """The state of following one kind.

    Args:
        resources: the versions in which the server may have it, the preferred one first; the first that it has is followed.
        optional: without it in the cluster (its CRD is not installed) there are no such objects, and that is a complete list.
        known: the version of each object that was told.
        settled: everything has been told once.
        trouble: what went wrong last; None: all is well.
    """

    resources: Sequence[Resource]
    selection: Selection = Selection()
    optional: bool = False
    known: dict[Name, str] = field(default_factory=dict)
    settled: bool = False
    trouble: MeshError | None = None
    _version: str = ""
    _newest: str = "0"
    _continue: str = ""
    _seen: set[Name] = field(default_factory=set)
    _untried: int = -1
    _absences: int = 0
    _chosen: int = 0
    _page_size: int = PAGE_SIZE
    _failures: int = 0
    _broken: int = 0
    _consistent: bool = False

    @property
    def resource(self) -> Resource:
        return self.resources[self._chosen]

    def step(self, random: float) -> Step:
        """Returns what to ask next.

        Args:
            random: in [0, 1).
        """
        wait_s = self._backoff().delay_s(self._failures, random) if self._failures else 0.0
        query = {"fieldSelector": self.selection.fields, "labelSelector": self.selection.labels}
        if self._version:
            lasts_s = int(WATCH_LASTS_S * (1 + random))
            query |= {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self._version, "timeoutSeconds": str(lasts_s)}
        elif self.selection.from_cache and not self._consistent:
            # Without a limit: of this version or a newer one. Source: Kubernetes, "API Concepts", semantics of resourceVersion.
            query |= {"resourceVersion": self._newest}
        else:
            query |= {"limit": str(self._page_size), "continue": self._continue}
        return Step(self.resource, {key: value for key, value in query.items() if value}, bool(self._version), wait_s)

    def take_page(self, page: Mapping[str, Any]) -> Batch:
        """Takes an answer to a list.

        Raises:
            BrokenAnswer: it is no such list; nothing of it was taken.
        """
        metadata, items = page.get("metadata"), page.get("items")
        expected = f"{self._kind}List"
        if page.get("kind") != expected or not isinstance(metadata, dict) or not isinstance(items, list | None):
            raise BrokenAnswer(f"expected a {expected}")
        version, following = metadata.get("resourceVersion"), metadata.get("continue") or ""
        if not isinstance(version, str) or not version or not isinstance(following, str):
            raise BrokenAnswer(f"a {expected} without a resourceVersion")
        named = [(_name_of(item), _version_of(item), item) for item in items or ()]
        changes = [change for name, at, item in named if (change := self._put(name, at, item)) is not None]
        self._seen.update(name for name, _, _ in named)
        self._well()
        self._continue = following
        if following:
            return Batch(changes)
        changes += self._take_gone()
        self._version = self._newest = version
        self.settled = True
        return Batch(changes, listed=True)

    def take_event(self, event: Mapping[str, Any]) -> Change | None:
        """Takes one event of a watch; None: it changed nothing.

        Raises:
            BrokenAnswer: it is no event; nothing of it was taken.
            ApiError: the server ends the watch by an error.
        """
        kind, data = event.get("type"), event.get("object")
        if not isinstance(data, dict):
            raise BrokenAnswer("an event without an object")
        if kind == "ERROR":
            raise status_error(0, data)
        if not isinstance(kind, str) or kind not in _EVENTS or data.get("kind") != self._kind:
            raise BrokenAnswer(f"an event {str(kind)[:32]!r} of a {str(data.get('kind'))[:64]!r}")
        version = _version_of(data)
        change = None
        if kind == "DELETED":
            change = Change(name, None) if self.known.pop(name := _name_of(data), None) is not None else None
        elif kind != "BOOKMARK":
            change = self._put(_name_of(data), version, data)
        self._version = self._newest = version
        self._well()
        return change

    def accepted(self) -> None:
        """The server has agreed to a watch; it may still end it by an error at once."""
        self.trouble = None

    def ended(self, lasted_s: float) -> None:
        """A watch ended in good order."""
        self._failures = self._failures + 1 if lasted_s < _SHORT_WATCH_S else 0

    def failed(self, error: MeshError) -> None:
        """What was asked last failed."""
        before, self.trouble = self.trouble, error
        self._failures += 1
        watching, self._continue, self._seen = bool(self._version), "", set()
        if isinstance(error, ApiError):
            self._refused(error, before)
        elif isinstance(error, BrokenAnswer):
            self._broken += 1
            if error.too_large and not watching:
                self._consistent, self._page_size = True, max(1, self._page_size // _PAGE_SHRINKS_BY)
            if self._broken >= _MOST_BROKEN:
                self._broken, self._version = 0, ""

    def _refused(self, error: ApiError, before: MeshError | None) -> None:
        if error.status == 410 or error.reason == "Expired" or _TOO_LARGE_VERSION in error.message:
            self._consistent, self._version = self._consistent or not self._version, ""
        elif error.status == 404:
            self._version = ""
            self._chosen = (self._chosen + 1) % len(self.resources)
            self._untried = (self._untried if self._untried >= 0 else len(self.resources)) - 1
            if self._untried:
                # There is another version to be tried first.
                self._failures, self.trouble = 0, before
            else:
                self._untried, self._absences = -1, self._absences + 1
                self.settled |= self.optional and self._absences >= _ABSENCES

    def _backoff(self) -> Backoff:
        # A server that starts refuses everybody until it has read who may do what (403, seen with 1.34): no reason to wait for long.
        if not isinstance(self.trouble, ApiError) or self.trouble.status != 404:
            return RETRY
        return CONFIRM if 0 < self._absences < _ABSENCES else ABSENT

    @property
    def _kind(self) -> str:
        return "PartialObjectMetadata" if self.selection.metadata_only else self.resource.kind

    def _put(self, name: Name, version: str, data: dict[str, Any]) -> Change | None:
        if self.known.get(name) == version:
            return None
        self.known[name] = version
        data["metadata"].pop("managedFields", None)
        return Change(name, data)

    def _take_gone(self) -> list[Change]:
        gone = self.known.keys() - self._seen
        for name in gone:
            del self.known[name]
        self._seen = set()
        return [Change(name, None) for name in sorted(gone)]

    def _well(self) -> None:
        self._failures = self._broken = self._absences = 0
        self._untried = -1
        self.trouble = None


def status_error(status: int, data: Mapping[str, Any]) -> ApiError:
    """Reads a Status, which the server answers in place of what was asked for.

    Args:
        status: of HTTP, for what is no Status.
    """
    code, reason, message = data.get("code"), data.get("reason"), data.get("message")
    causes = " ".join(_causes(data))
    text = f"{message if isinstance(message, str) else 'no message'} {causes}".strip()
    return ApiError(code if type(code) is int else status, reason[:64] if isinstance(reason, str) else "", text[:512])


def _causes(data: Mapping[str, Any]) -> Iterator[str]:
    details = data.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for one in causes if isinstance(causes, list) else ():
        if isinstance(one, dict) and isinstance(one.get("reason"), str):
            yield f"({one['reason'][:64]})"


def _metadata(data: object) -> Mapping[str, Any]:
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if not isinstance(metadata, dict):
        raise BrokenAnswer("an object without metadata")
    return metadata


def _name_of(data: object) -> Name:
    metadata = _metadata(data)
    namespace, name = metadata.get("namespace") or "", metadata.get("name")
    if not isinstance(namespace, str) or not isinstance(name, str) or not name:
        raise BrokenAnswer("an object without a name")
    return Name(namespace, name)


def _version_of(data: object) -> str:
    version = _metadata(data).get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise BrokenAnswer("an object without a resourceVersion")
    return version
