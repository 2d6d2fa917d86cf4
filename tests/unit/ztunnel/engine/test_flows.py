"""The flow table asks once per flow, takes choices in turn, and bounds who waits."""

import pytest

from ztunnel.engine.interface import Action, Cause, Decision, Direct, Direction, Flow, Local, Miss, Tunnel
from ztunnel.engine.python import flows
from ztunnel.engine.python.flows import Choice, FlowTable
from ztunnel.engine.python.ledger import Ledger
from ztunnel.engine.python.reactor import Deadlines

FLOW = Flow(1, Direction.OUTBOUND, "", "10.0.0.1:80", "")


def direct(port: int) -> Direct:
    return Direct(("10.0.0.1", port), keep_source=False, report=port)


class Asking:
    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.causes: list[Cause] = []

    def chosen(self, choice: Choice) -> None:
        self.actions.append(choice.action)

    def gave_up(self, cause: Cause) -> None:
        self.causes.append(cause)


class Table:
    """A flow table with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.deadlines = Deadlines(lambda: self.now_s)
        self.ledger = Ledger(lambda: None, lambda: self.now_s)
        self.flows = FlowTable(self.ledger, self.deadlines)

    def misses(self) -> list[Flow]:
        return [notice.flow for notice in self.ledger.take_notices() if isinstance(notice, Miss)]


def test_a_flow_is_asked_for_once_and_everyone_who_waits_is_answered_in_turn() -> None:
    table, waiters = Table(), [Asking(), Asking(), Asking()]
    assert all(table.flows.ask(FLOW, waiter) for waiter in waiters)
    assert table.misses() == [FLOW]
    table.flows.decide(FLOW, Decision((direct(1), direct(2))))
    assert [waiter.actions for waiter in waiters] == [[direct(1)], [direct(2)], [direct(1)]]
    later = Asking()
    table.flows.ask(FLOW, later)
    assert later.actions == [direct(2)]
    assert table.misses() == []


def test_a_decision_that_must_not_be_kept_is_asked_for_again() -> None:
    table, waiter = Table(), Asking()
    for _ in range(2):
        table.flows.ask(FLOW, waiter)
        assert table.misses() == [FLOW]
        table.flows.decide(FLOW, Decision((direct(1),), cache=False))
    assert waiter.actions == [direct(1), direct(1)]
    assert len(table.flows) == 0


def test_after_invalidate_it_asks_again() -> None:
    table = Table()
    table.flows.decide(FLOW, Decision((direct(1),)))
    table.flows.invalidate()
    table.flows.ask(FLOW, Asking())
    assert table.misses() == [FLOW]


def test_a_forgotten_flow_is_asked_for_again_and_who_waits_goes_on_waiting() -> None:
    table, waiter = Table(), Asking()
    waiting = FLOW._replace(pod=2)
    table.flows.decide(FLOW, Decision((direct(1),)))
    table.flows.ask(waiting, waiter)
    table.flows.forget({FLOW, waiting, FLOW._replace(pod=3)})
    assert waiter.causes == []
    table.flows.ask(FLOW, Asking())
    assert table.misses() == [waiting, FLOW]
    table.flows.decide(waiting, Decision((direct(2),)))
    assert waiter.actions == [direct(2)]


def test_a_choice_knows_its_flow_and_who_is_told() -> None:
    assert Choice(FLOW, direct(7)).live.flow is FLOW
    assert Choice(FLOW, direct(7)).reports == (7,)
    assert Choice(FLOW, Local(1, ("10.0.0.1", 80), report=7, inbound_report=8)).reports == (7, 8)


def test_who_waits_too_long_is_turned_away() -> None:
    table, waiter = Table(), Asking()
    table.flows.ask(FLOW, waiter)
    table.now_s += flows.DECISION_TIMEOUT_S / 2
    table.deadlines.expire_due()
    assert waiter.causes == []
    table.now_s += flows.DECISION_TIMEOUT_S
    table.deadlines.expire_due()
    assert waiter.causes == [Cause.DECISION_TIMEOUT]
    table.flows.decide(FLOW, Decision((direct(1),)))
    assert waiter.actions == []


def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MAX_WAITING", 3)
    table, waiter = Table(), Asking()
    assert [table.flows.ask(FLOW, waiter) for _ in range(4)] == [True, True, True, False]
    table.flows.decide(FLOW, Decision((direct(1),), cache=False))
    assert table.flows.ask(FLOW, waiter)


def test_no_more_than_so_many_decisions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MAX_FLOWS", 2)
    table = Table()
    keys = [FLOW._replace(destination=f"10.0.0.{last}:80") for last in range(3)]
    for key in keys:
        table.flows.decide(key, Decision((direct(1),)))
    assert len(table.flows) == 2
    table.flows.ask(keys[0], Asking())
    assert table.misses() == [keys[0]]


def test_a_pod_that_leaves_takes_its_flows_and_waiters_along() -> None:
    table, waiter = Table(), Asking()
    other = FLOW._replace(pod=2)
    table.flows.decide(other, Decision((direct(1),)))
    table.flows.ask(FLOW, waiter)
    table.flows.give_up_pod(1)
    assert waiter.causes == [Cause.DRAINED]
    assert len(table.flows) == 1
    table.flows.give_up_pod(2)
    assert len(table.flows) == 0


def test_tunnels_are_interchangeable_only_between_equals() -> None:
    def key(pod: int, next_hop: str, source: str, peers: tuple[str, ...]) -> object:
        return Choice(FLOW._replace(pod=pod), Tunnel((next_hop, 15008), "10.0.0.1:80", (), source, peers, 0)).pool_key

    base = key(1, "10.0.0.1", "spiffe://a", ("spiffe://b",))
    assert base == key(1, "10.0.0.1", "spiffe://a", ("spiffe://b",))
    others = {
        key(2, "10.0.0.1", "spiffe://a", ("spiffe://b",)),
        key(1, "10.0.0.2", "spiffe://a", ("spiffe://b",)),
        key(1, "10.0.0.1", "spiffe://c", ("spiffe://b",)),
        key(1, "10.0.0.1", "spiffe://a", ("spiffe://c",)),
    }
    assert len(others) == 4
    assert base not in others
