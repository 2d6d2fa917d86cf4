"""The policies that the control plane told us of, and what they say of a connection. Books only, no I/O.

It fails closed: a policy that was announced and could not be read denies all that it may hold for, until it can be read or is gone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.policy.evaluation import Grounds, PolicyBook, Ruling
from mesh.policy.model import Authorization, Connection, PolicyScope
from mesh.wire.convert import MAX_NAME_LENGTH

# What a reconnect says that it holds of a policy that it could not read: no version of the control plane's, so that the policy
# is sent again, or told to be gone.
UNREAD = ""
# What a decision waits for under this name is the first answer about policies. No resource is called so: names are printable.
POLICIES = "\0policies"

# What a resource without a name goes by here.
NAMELESS = "(without a name)"


@dataclass(frozen=True, slots=True)
class PolicyUpsert:
    """A policy as one response gave it; `version` is the control plane's, opaque."""

    version: str
    policy: Authorization


@dataclass(frozen=True, slots=True)
class PolicyUpdate:
    """One response, checked.

    Args:
        removed: names ("namespace/name"), known or not.
        refused: why, by the name of each policy that could not be read.
    """

    upserts: tuple[PolicyUpsert, ...]
    removed: tuple[str, ...]
    refused: Mapping[str, str]


class Policies:
    """What is held, what was refused, and the rulings that follow.

    Args:
        root_namespace: its policies may hold for the whole mesh.
    """

    def __init__(self, book: PolicyBook, root_namespace: str) -> None:
        self._book = book
        self._root_namespace = root_namespace
        self._versions: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        # Of the refused ones, those that were never held, by namespace: each denies.
        self._blocking: dict[str, dict[str, None]] = {}
        # The control plane has told the policies once. Until then nothing is known, and nothing may be let in.
        self.synced = False

    def __len__(self) -> int:
        return len(self._book)

    def __iter__(self) -> Iterator[Authorization]:
        return iter(self._book)

    def get(self, key: str) -> Authorization | None:
        return self._book.get(key)

    @property
    def refused(self) -> Mapping[str, str]:
        """Why, by name; where an earlier version is held, that one goes on."""
        return self._refused

    def versions(self) -> dict[str, str]:
        """Returns what a reconnect tells the control plane that it has: the version of each policy, UNREAD for one that blocks."""
        unread = {name: UNREAD for names in self._blocking.values() for name in names}
        return {**self._versions, **unread}

    def apply(self, update: PolicyUpdate) -> bool:
        """Takes over one response, whole; returns whether a ruling may differ from now on. Before the first there was none."""
        changed = False
        for name in map(_bounded, update.removed):
            changed |= self._remove(name)
        for upsert in update.upserts:
            changed |= self._put(upsert)
        for name, reason in update.refused.items():
            changed |= self._refuse(_bounded(name), reason)
        self.synced = True
        return changed

    def decide(self, connection: Connection, namespace: str, listed: tuple[str, ...]) -> Ruling:
        """Says whether a workload accepts a connection.

        Args:
            namespace: of the workload.
            listed: the policies that select it by its labels.
        """
        blocking = self.blocking(namespace)
        if blocking:
            return Ruling(False, blocking, Grounds.NOT_HELD)
        return self._book.decide(connection, namespace, listed)

    def blocking(self, namespace: str) -> str:
        """Returns a policy that was refused and never held, and may hold for a namespace; "" when there is none."""
        for where in (self._root_namespace, namespace, ""):
            for name in self._blocking.get(where, ()):
                return name
        return ""

    def unread(self, key: str) -> bool:
        """Says whether a policy was announced, and no version of it could be read."""
        return key in self._blocking.get(_namespace(key), ())

    def effective(self, namespace: str, listed: Iterable[str]) -> tuple[str, ...]:
        """Returns the names of the policies that hold for a workload, held or not, for people to read."""
        wide = {
            policy.key
            for policy in self._book
            if policy.scope is PolicyScope.MESH or (policy.scope is PolicyScope.NAMESPACE and policy.namespace == namespace)
        }
        return tuple(sorted(wide.union(listed)))

    def _put(self, upsert: PolicyUpsert) -> bool:
        key = upsert.policy.key
        changed = self._accept(key)
        self._versions[key] = upsert.version
        if self._book.get(key) == upsert.policy:
            return changed
        self._book.put(upsert.policy)
        return True

    def _remove(self, key: str) -> bool:
        changed = self._accept(key)
        if self._versions.pop(key, None) is None:
            return changed
        self._book.remove(key)
        return True

    def _refuse(self, key: str, reason: str) -> bool:
        self._refused[key] = reason
        if key in self._versions:
            return False
        blocking = self._blocking.setdefault(_namespace(key), {})
        changed = key not in blocking
        blocking[key] = None
        return changed

    def _accept(self, key: str) -> bool:
        """The policy can be read, or is gone; returns whether it was blocking."""
        self._refused.pop(key, None)
        namespace = _namespace(key)
        blocking = self._blocking.get(namespace, {})
        if key not in blocking:
            return False
        del blocking[key]
        if not blocking:
            del self._blocking[namespace]
        return True


def _namespace(key: str) -> str:
    """Returns the namespace of a policy's name; "" when it has none: then it may hold for any."""
    namespace, slash, _ = key.partition("/")
    return namespace if slash else ""


def _bounded(name: str) -> str:
    """No policy that could be read has a longer name, or none."""
    return name[:MAX_NAME_LENGTH] or NAMELESS
