"""The table: what events make of it, and that no sequence of events breaks it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf.observe.connection import Connection
from ebpf.observe.events import Event, Kind, socket_address
from ebpf.observe.process import STATES
from ebpf.observe.table import LINGER_NS, ConnectionTable, in_order
from ebpf.observe.verdict import SETTLE_NS, Verdict
from tests.unit.ebpf.observe.made import (
    CLIENT,
    CLOSED,
    CONNECTED,
    CONNECTING,
    CONNECTION,
    EVENT,
    NETNS,
    SERVER,
    ZTUNNEL_MARK,
    packet,
    state,
)

ACCEPTING = state("LISTEN", "SYN_RECV", socket=0xB, local=SERVER, remote=CLIENT, mark=ZTUNNEL_MARK)
ACCEPTED = state("SYN_RECV", "ESTABLISHED", socket=0xB, local=SERVER, remote=CLIENT, mark=ZTUNNEL_MARK)


def rows(table: ConnectionTable, now_ns: int = 0) -> list[Connection]:
    return [connection for connection, _ in table.judged(now_ns).values()]


def filled(*events: Event) -> ConnectionTable:
    table = ConnectionTable()
    for event in events:
        table.apply(event)
    return table


def test_one_socket_is_one_connection() -> None:
    [connection] = rows(filled(CONNECTING, CONNECTED, CLOSED))
    assert (connection.path, connection.state, connection.opened_ns, connection.changed_ns) == (
        (NETNS, CLIENT, SERVER),
        "CLOSE",
        1000,
        3000,
    )


def test_number_of_a_connection_stays() -> None:
    table = ConnectionTable()
    assert len({table.apply(event) for event in (CONNECTING, CONNECTED, CLOSED)}) == 1


def test_socket_that_is_used_again_is_another_connection() -> None:
    again = replace(CONNECTED, local=socket_address("10.0.0.1", 40001))
    first, second = rows(filled(CONNECTING, CONNECTED, CLOSED, CONNECTING, again))
    assert (first.state, first.local.port) == ("CLOSE", 40000)
    assert (second.state, second.local.port) == ("ESTABLISHED", 40001)


def test_path_that_is_used_again_is_another_connection() -> None:
    states = [
        one.state for one in rows(filled(CONNECTING, CONNECTED, CLOSED, replace(CONNECTING, socket=0xC), replace(CONNECTED, socket=0xC)))
    ]
    assert states == ["CLOSE", "ESTABLISHED"]


def test_two_sockets_that_connect_at_once_are_told_apart() -> None:
    other = replace(CONNECTED, socket=0xC, local=socket_address("10.0.0.1", 40001))
    ports = sorted(one.local.port for one in rows(filled(CONNECTING, replace(CONNECTING, socket=0xC), CONNECTED, other)))
    assert ports == [40000, 40001]


@pytest.mark.parametrize("event", [state("CLOSE", "LISTEN"), state("LISTEN", "CLOSE")])
def test_listener_is_no_connection(event: Event) -> None:
    table = ConnectionTable()
    assert table.apply(event) is None
    assert rows(table) == []


def test_packet_that_was_told_of_before_its_socket() -> None:
    [connection] = rows(filled(packet(Kind.DROP, reason=3), replace(ACCEPTED, local=CLIENT, remote=SERVER, old_state="LISTEN")))
    assert (connection.state, connection.drops) == ("ESTABLISHED", {(3, False): 1})


def test_packet_that_was_told_of_before_the_port_of_its_socket() -> None:
    [connection] = rows(filled(CONNECTING, packet(Kind.DROP, reason=3), CONNECTED))
    assert (connection.local, connection.drops) == (CLIENT, {(3, False): 1})


def test_late_packet_belongs_to_the_closed_connection() -> None:
    [connection] = rows(filled(CONNECTING, CONNECTED, CLOSED, packet(Kind.RESET_SENT)))
    assert (connection.state, connection.resets_sent) == ("CLOSE", 1)


def test_same_path_in_two_namespaces_is_two_connections() -> None:
    assert len(rows(filled(CONNECTED, replace(CONNECTED, netns=NETNS + 1, socket=0xC)))) == 2


def test_connection_that_was_open_before_is_found_by_its_path() -> None:
    table = ConnectionTable()
    table.add(replace(CONNECTION, state="ESTABLISHED", retransmits=2))
    table.apply(replace(EVENT, kind=Kind.RETRANSMIT, new_state="ESTABLISHED"))
    [connection] = rows(table)
    assert connection.retransmits == 3


def test_what_events_told_wins_over_what_was_open_before() -> None:
    table = filled(CONNECTING, CONNECTED, CLOSED)
    table.add(replace(CONNECTION, state="ESTABLISHED"))
    assert [one.state for one in rows(table)] == ["CLOSE"]


def test_opening_that_is_told_of_after_the_open_connection_was_found() -> None:
    table = ConnectionTable()
    table.add(replace(CONNECTION, state="ESTABLISHED"))
    table.apply(CONNECTING)
    table.apply(CONNECTED)
    [connection] = rows(table)
    assert connection.socket == CONNECTED.socket


def test_the_connection_that_changed_longest_ago_gives_way() -> None:
    table = ConnectionTable(limit=2)
    for port in (1, 2, 1, 3):
        table.apply(replace(CONNECTED, socket=port, local=socket_address("10.0.0.1", port)))
    assert [one.local.port for one in rows(table)] == [1, 3]


def test_ended_connections_are_forgotten_and_open_ones_are_not() -> None:
    table = filled(CONNECTED, CLOSED, replace(CONNECTED, socket=0xC, local=socket_address("10.0.0.1", 40001)))
    table.forget(CLOSED.time_ns + LINGER_NS)
    assert len(rows(table)) == 2
    table.forget(CLOSED.time_ns + LINGER_NS + 1)
    assert [one.local.port for one in rows(table)] == [40001]


def test_only_watched_namespaces_are_retained() -> None:
    table = filled(CONNECTED, replace(CONNECTED, netns=NETNS + 1, socket=0xC))
    table.retain(frozenset({NETNS + 1}))
    assert [one.netns for one in rows(table)] == [NETNS + 1]


def test_verdicts() -> None:
    table = filled(CONNECTING, CONNECTED, ACCEPTING, ACCEPTED)
    assert {connection.local: verdict for connection, verdict in table.judged(0).values()} == {
        CLIENT: Verdict.CAPTURED,
        SERVER: Verdict.ZTUNNEL,
    }


def test_captured_stays_captured_when_the_other_end_is_forgotten() -> None:
    table = filled(CONNECTING, CONNECTED, ACCEPTING, ACCEPTED)
    table.judged(0)
    table.apply(replace(ACCEPTED, old_state="LAST_ACK", new_state="CLOSE"))
    table.forget(LINGER_NS * 2)
    assert [verdict for _, verdict in table.judged(LINGER_NS * 2).values()] == [Verdict.CAPTURED]


def test_ztunnel_of_another_pod_captures_nothing_here() -> None:
    elsewhere = replace(ACCEPTED, netns=NETNS + 1)
    table = filled(CONNECTED, elsewhere)
    assert Verdict.AROUND in {verdict for _, verdict in table.judged(CONNECTED.time_ns + SETTLE_NS).values()}


def test_order_of_the_table() -> None:
    judged = [
        (replace(CONNECTION, opened_ns=1), Verdict.ZTUNNEL),
        (replace(CONNECTION, opened_ns=3), Verdict.CAPTURED),
        (replace(CONNECTION, opened_ns=2), Verdict.AROUND),
    ]
    assert [connection.opened_ns for connection, _ in in_order(judged)] == [2, 3, 1]


ANY_EVENT = st.builds(
    Event,
    time_ns=st.integers(0, 100),
    kind=st.sampled_from(Kind),
    netns=st.integers(1, 2),
    local=st.builds(socket_address, st.just("10.0.0.1"), st.integers(0, 2)),
    remote=st.builds(socket_address, st.just("10.0.0.2"), st.integers(0, 2)),
    socket=st.integers(0, 3),
    mark=st.sampled_from([0, ZTUNNEL_MARK]),
    reason=st.integers(0, 3),
    old_state=st.sampled_from(STATES),
    new_state=st.sampled_from(STATES),
)


@given(st.lists(ANY_EVENT, max_size=60))
def test_no_sequence_of_events_breaks_the_table(sequence: list[Event]) -> None:
    table = ConnectionTable(limit=4)
    for now_ns, event in enumerate(sequence):
        number = table.apply(event)
        judged = table.judged(now_ns)
        assert len(judged) <= 4
        assert number is None or number in judged
        open_sockets = [connection.socket for connection, _ in judged.values() if connection.socket]
        assert len(open_sockets) == len(set(open_sockets))
    table.forget(LINGER_NS * 2)
    assert not [connection for connection in rows(table) if connection.closed]
    table.retain(frozenset())
    assert rows(table) == []
    assert not any(vars(table)[index] for index in ("_connections", "_by_socket", "_by_path"))
