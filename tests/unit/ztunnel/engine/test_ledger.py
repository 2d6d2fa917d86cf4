"""The ledger: notices in order, counters that add up."""

import pytest

from ztunnel.engine.interface import Cause, Closed, Counters, Direction, Opened, Refused
from ztunnel.engine.python import ledger as ledger_module
from ztunnel.engine.python.ledger import Ledger, Relayed


class Wakes:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def relayed(*reports: int) -> Relayed:
    made = Relayed("10.0.0.9:1000", "spiffe://a", started_s=10.0)
    made.reports = reports
    made.next_hop = "10.0.0.1:80"
    return made


def test_a_connection_is_told_of_once_when_it_opens_and_once_when_it_closes() -> None:
    wakes = Wakes()
    ledger = Ledger(wakes, lambda: 10.25)
    connection = relayed(7)
    ledger.opened(connection)
    connection.sent_bytes, connection.received_bytes = 5, 6
    ledger.closed(connection, Cause.CLIENT_RESET, "reset")
    ledger.closed(connection, Cause.NONE, "")
    assert wakes.count == 1
    assert ledger.take_notices() == [
        Opened(1, 7, "10.0.0.9:1000", "10.0.0.1:80", "spiffe://a"),
        Closed(1, 7, "10.0.0.9:1000", "10.0.0.1:80", "spiffe://a", True, 5, 6, 250, Cause.CLIENT_RESET, "reset"),
    ]
    assert ledger.counters([]) == [Counters(7, 1, 1, 0, 5, 6)]
    ledger.refused(1, Direction.INBOUND_HBONE, "10.0.0.9:1", Cause.TLS_FAILURE, "x")
    assert wakes.count == 2
    assert ledger.take_notices() == [Refused(1, Direction.INBOUND_HBONE, "10.0.0.9:1", Cause.TLS_FAILURE, "x")]


def test_a_connection_that_never_opened_counts_as_failed() -> None:
    ledger = Ledger(lambda: None, lambda: 11.0)
    ledger.closed(relayed(7), Cause.CONNECT_REFUSED, "")
    assert ledger.counters([]) == [Counters(7, 0, 0, 1, 0, 0)]


def test_bytes_of_live_connections_are_counted_and_not_twice() -> None:
    ledger = Ledger(lambda: None, lambda: 11.0)
    connection = relayed(7, 8)
    ledger.opened(connection)
    connection.sent_bytes = 100
    assert ledger.counters([connection]) == [Counters(7, 1, 0, 0, 100, 0), Counters(8, 1, 0, 0, 100, 0)]
    ledger.closed(connection, Cause.NONE, "")
    assert ledger.counters([]) == [Counters(7, 1, 1, 0, 100, 0), Counters(8, 1, 1, 0, 100, 0)]
    ledger.forget(frozenset({7}))
    assert [totals.report for totals in ledger.counters([])] == [8]


def test_notices_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_NOTICES", 3)
    ledger = Ledger(lambda: None, lambda: 11.0)
    for _ in range(5):
        ledger.opened(relayed(7))
    assert len(ledger.take_notices()) == 3
    assert ledger.counters([])[0].opened == 5
