"""The flow table: decisions by flow, and the connections that wait for one."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from ztunnel.engine.interface import Action, Cause, Decision, Direction, Endpoint, Flow, LiveFlow, Local, Reject, Tunnel
from ztunnel.engine.python.ledger import Ledger
from ztunnel.engine.python.reactor import Deadlines
from ztunnel.engine.python.sockets import text
from ztunnel.hbone import connect_block

# Decisions that are kept; the least recently made go first. A node's pods rarely talk to more addresses than this.
MAX_FLOWS = 65_536
# Connections that may wait for decisions at once; more are turned away.
MAX_WAITING = 8_192
# How long one may wait: a decision may need the control plane and a certificate. The same as for connecting.
DECISION_TIMEOUT_S = 10.0

# What a Flow is made of. Equal to it and found where it is, and built in a third of the time.
Key = tuple[int, Direction, str, str, str]
# What makes tunnels interchangeable: source identity, peer identities, next hop, source pod.
PoolKey = tuple[str, tuple[str, ...], Endpoint, int]


class Choice:
    """An action made ready: what is the same for all its connections is computed once."""

    __slots__ = ("action", "block", "live", "next_hop", "pool_key", "reports")

    def __init__(self, flow: Flow, action: Action) -> None:
        self.live = LiveFlow(flow, action)
        self.action = action
        self.reports = (action.report, action.inbound_report) if isinstance(action, Local) else (action.report,)
        self.next_hop = "" if isinstance(action, Reject) else text(*action.next_hop)
        self.block = b""
        self.pool_key: PoolKey | None = None
        if isinstance(action, Tunnel):
            self.block = connect_block(action.authority, action.headers)
            self.pool_key = (action.source_identity, action.peer_identities, action.next_hop, flow.pod)


class Waiter(Protocol):
    """A connection that waits for its decision."""

    def chosen(self, choice: Choice) -> None: ...

    def gave_up(self, cause: Cause) -> None:
        """No decision came: DECISION_TIMEOUT, or DRAINED."""


class _Cached:
    __slots__ = ("choices", "turn")

    def __init__(self, choices: tuple[Choice, ...]) -> None:
        self.choices = choices
        self.turn = 0

    def next(self) -> Choice:
        choice = self.choices[self.turn]
        self.turn = (self.turn + 1) % len(self.choices)
        return choice


class _Pending:
    """The connections of one flow that wait, from the first one's arrival to the deadline."""

    __slots__ = ("_key", "_table", "bucket", "waiters")

    def __init__(self, table: "FlowTable", key: Key) -> None:
        self._table = table
        self._key = key
        self.bucket = 0
        self.waiters: list[Waiter] = []

    def expire(self) -> None:
        self._table.give_up(self._key, Cause.DECISION_TIMEOUT)


class FlowTable:
    """Asks once per flow."""

    def __init__(self, ledger: Ledger, deadlines: Deadlines) -> None:
        self._ledger = ledger
        self._deadlines = deadlines
        self._flows: OrderedDict[Key, _Cached] = OrderedDict()
        self._pending: dict[Key, _Pending] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._flows)

    def ask(self, key: Key, waiter: Waiter) -> bool:
        """Calls waiter.chosen, at once when the decision is known. False: too many wait already."""
        cached = self._flows.get(key)
        if cached is not None:
            waiter.chosen(cached.next())
            return True
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(self, key)
            pending.bucket = self._deadlines.set(DECISION_TIMEOUT_S, pending)
            self._ledger.missed(Flow(*key))
        pending.waiters.append(waiter)
        return True

    def decide(self, flow: Flow, decision: Decision) -> None:
        """Answers everyone who waits for this flow, each with the next choice."""
        cached = _Cached(tuple(Choice(flow, action) for action in decision.choices))
        if decision.cache:
            self._flows[flow] = cached
            if len(self._flows) > MAX_FLOWS:
                self._flows.popitem(last=False)
        for waiter in self._take(flow):
            waiter.chosen(cached.next())

    def give_up(self, key: Key, cause: Cause) -> None:
        for waiter in self._take(key):
            waiter.gave_up(cause)

    def give_up_pod(self, pod: int) -> None:
        """The pod leaves: forget its flows, turn away who waits."""
        for key in [key for key in self._pending if key[0] == pod]:
            self.give_up(key, Cause.DRAINED)
        for key in [key for key in self._flows if key[0] == pod]:
            del self._flows[key]

    def invalidate(self) -> None:
        self._flows.clear()

    def forget(self, flows: Iterable[Flow]) -> None:
        """The next connection of each asks anew; who waits goes on waiting."""
        for flow in flows:
            self._flows.pop(flow, None)

    def _take(self, key: Key) -> list[Waiter]:
        pending = self._pending.pop(key, None)
        if pending is None:
            return []
        self._deadlines.cancel(pending.bucket, pending)
        self._waiting -= len(pending.waiters)
        return pending.waiters
