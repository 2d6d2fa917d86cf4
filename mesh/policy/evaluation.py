"""Whether policy lets a connection in: DENY first, then ALLOW; where no ALLOW policy applies, everything else is let in."""

import enum
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from mesh.identity import Identity
from mesh.policy.compiled import Facts, Test, compile_policy
from mesh.policy.model import Authorization, Connection, PolicyAction, PolicyScope, ServiceAccountMatch


class Grounds(enum.Enum):
    """Why a ruling is as it is, in words for a log line."""

    UNRESTRICTED = "no ALLOW policy applies"
    ALLOWED = "an ALLOW policy matches"
    DENIED = "a DENY policy matches"
    NOT_ALLOWED = "no ALLOW policy matches"
    NOT_HELD = "a policy that applies has not arrived"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What policy says of one connection.

    Args:
        policy: "namespace/name" of the one that decided; for NOT_ALLOWED the first of those that could have; "" where there is none.
        would_deny: the policies in dry run because of which this connection, which is allowed, would not be, were all of them enforced.
    """

    allowed: bool
    policy: str
    reason: Grounds
    would_deny: tuple[str, ...] = ()


class _Held:
    """A policy, compiled when it is asked for the first time: a node holds those of all its namespaces and asks few, and the compiled
    form takes three times the memory of the other."""

    __slots__ = ("_test", "key", "policy")

    def __init__(self, policy: Authorization) -> None:
        self.key = policy.key
        self.policy = policy
        self._test: Test | None = None

    def matches(self, facts: Facts) -> bool:
        if self._test is None:
            self._test = compile_policy(self.policy)
        return self._test(facts)


_by_key = attrgetter("key")


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Policies that apply to the same workloads; each list is in the order of keys."""

    enforced: dict[PolicyAction, list[_Held]] = field(default_factory=lambda: {action: [] for action in PolicyAction})
    dry_run: dict[PolicyAction, list[_Held]] = field(default_factory=lambda: {action: [] for action in PolicyAction})

    def of(self, policy: Authorization) -> list[_Held]:
        return (self.dry_run if policy.dry_run else self.enforced)[policy.action]

    def empty(self) -> bool:
        return not any((*self.enforced.values(), *self.dry_run.values()))


class PolicyBook:
    """The policies that a node proxy holds, by whom they apply to.

    A decision costs what the policies cost that apply to the workload: those of the mesh, of its namespace, and those that it lists.
    Args:
        trust_domain: of the mesh.
        aliases: domains that count as the mesh's own: an identity of any of them fits a principal that is written with any other.
    """

    def __init__(self, trust_domain: str, aliases: tuple[str, ...] = ()) -> None:
        self._domains = tuple(dict.fromkeys((trust_domain, *aliases)))
        self._held: dict[str, _Held] = {}
        # By namespace; "" is the mesh, whose policies have no namespace of their own here.
        self._shelves: dict[str, _Shelf] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Authorization]:
        """Yields the policies in no particular order."""
        return (held.policy for held in self._held.values())

    def get(self, key: str) -> Authorization | None:
        held = self._held.get(key)
        return held.policy if held else None

    def put(self, policy: Authorization) -> None:
        """Adds a policy, in the place of one of the same key."""
        self.remove(policy.key)
        held = self._held[policy.key] = _Held(policy)
        if policy.scope is not PolicyScope.SELECTOR:
            insort(self._shelves.setdefault(_shelf(policy), _Shelf()).of(policy), held, key=_by_key)

    def remove(self, key: str) -> None:
        """Removes a policy, if it is held."""
        held = self._held.pop(key, None)
        if held is None or held.policy.scope is PolicyScope.SELECTOR:
            return
        shelf = self._shelves[_shelf(held.policy)]
        entries = shelf.of(held.policy)
        del entries[bisect_left(entries, key, key=_by_key)]
        if shelf.empty():
            del self._shelves[_shelf(held.policy)]

    def decide(self, connection: Connection, namespace: str, listed: tuple[str, ...]) -> Ruling:
        """Decides on one connection. A policy that the workload lists and that is not held denies: nobody knows what it would say.

        Args:
            namespace: of the workload that is connected to.
            listed: keys of the policies that select this workload (its `policies`); one that is held with another scope than SELECTOR
                applies by that scope alone.
        """
        shelf = _Shelf()
        for key in dict.fromkeys(listed):
            if (held := self._held.get(key)) is None:
                return Ruling(False, key, Grounds.NOT_HELD)
            if held.policy.scope is PolicyScope.SELECTOR:
                shelf.of(held.policy).append(held)
        shelves = (*(found for name in ("", namespace) if (found := self._shelves.get(name))), shelf)
        return _rule(shelves, self._facts(connection))

    def _facts(self, connection: Connection) -> Facts:
        identity, source, destination = connection.identity, connection.source.ip, connection.destination
        if identity is None:
            return Facts((), (), None, source, destination.ip, destination.port)
        account = ServiceAccountMatch(identity.namespace, identity.service_account)
        return Facts((identity.namespace,), self._spellings(identity), account, source, destination.ip, destination.port)

    def _spellings(self, identity: Identity) -> tuple[str, ...]:
        domains = self._domains if identity.trust_domain in self._domains else (identity.trust_domain,)
        return tuple(f"{domain}/ns/{identity.namespace}/sa/{identity.service_account}" for domain in domains)


def _shelf(policy: Authorization) -> str:
    return "" if policy.scope is PolicyScope.MESH else policy.namespace


def _rule(shelves: tuple[_Shelf, ...], facts: Facts) -> Ruling:
    if denying := _first(shelves, PolicyAction.DENY, facts):
        return Ruling(False, denying.key, Grounds.DENIED)
    allowing = _first(shelves, PolicyAction.ALLOW, facts)
    if allowing is None and (unmatched := [held for shelf in shelves for held in shelf.enforced[PolicyAction.ALLOW][:1]]):
        return Ruling(False, min(unmatched, key=_by_key).key, Grounds.NOT_ALLOWED)
    would_deny = _would_deny(shelves, facts, allowing is not None)
    if allowing is None:
        return Ruling(True, "", Grounds.UNRESTRICTED, would_deny)
    return Ruling(True, allowing.key, Grounds.ALLOWED, would_deny)


def _first(shelves: tuple[_Shelf, ...], action: PolicyAction, facts: Facts) -> _Held | None:
    for shelf in shelves:
        for held in shelf.enforced[action]:
            if held.matches(facts):
                return held
    return None


def _would_deny(shelves: tuple[_Shelf, ...], facts: Facts, allowed: bool) -> tuple[str, ...]:
    """Returns what in dry run would turn an allowed connection away; `allowed`: an ALLOW policy lets it in whatever others say."""
    denying = [held.key for shelf in shelves for held in shelf.dry_run[PolicyAction.DENY] if held.matches(facts)]
    allowing = [held for shelf in shelves for held in shelf.dry_run[PolicyAction.ALLOW]]
    if not allowed and not any(held.matches(facts) for held in allowing):
        denying += [held.key for held in allowing]
    return tuple(sorted(denying))
