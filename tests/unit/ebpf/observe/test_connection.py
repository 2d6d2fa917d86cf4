"""How each event changes what is known of a connection."""

from dataclasses import replace

from ebpf.observe.connection import MAX_REASONS, advance
from ebpf.observe.events import Kind
from tests.unit.ebpf.observe.made import CLIENT, CLOSED, CONNECTED, CONNECTING, CONNECTION, EVENT, SERVER, packet


def test_connecting_then_connected() -> None:
    connecting = advance(replace(CONNECTION, local=CONNECTING.local), CONNECTING)
    assert (connecting.state, connecting.local.port, connecting.agreed_ns, connecting.closed) == ("SYN_SENT", 0, None, False)

    connected = advance(connecting, CONNECTED)
    assert (connected.state, connected.local, connected.remote, connected.rtt_us) == ("ESTABLISHED", CLIENT, SERVER, 35)
    assert (connected.agreed_ns, connected.changed_ns, connected.socket) == (2000, 2000, 0xA)


def test_when_it_was_agreed_does_not_change() -> None:
    later = replace(EVENT, kind=Kind.RTT, time_ns=9000, new_state="ESTABLISHED")
    assert advance(advance(CONNECTION, CONNECTED), later).agreed_ns == 2000


def test_closed_has_no_socket_and_keeps_what_was_measured() -> None:
    closed = advance(advance(CONNECTION, CONNECTED), CLOSED)
    assert (closed.closed, closed.socket, closed.rtt_us, closed.local) == (True, 0, 35, CLIENT)


def test_counts() -> None:
    connection = CONNECTION
    for kind in (Kind.RETRANSMIT, Kind.RETRANSMIT, Kind.RESET_SENT, Kind.RESET_RECEIVED, Kind.RTT):
        connection = advance(connection, replace(EVENT, kind=kind))
    assert (connection.retransmits, connection.resets_sent, connection.resets_received) == (2, 1, 1)


def test_drops_are_counted_by_reason_and_place() -> None:
    connection = CONNECTION
    for reason, elsewhere in ((3, False), (12, False), (12, True), (12, False)):
        connection = advance(connection, packet(Kind.DROP, reason=reason, elsewhere=elsewhere))
    assert connection.drops == {(3, False): 1, (12, False): 2, (12, True): 1}


def test_reasons_are_bounded_and_known_ones_are_counted_on() -> None:
    connection = CONNECTION
    for reason in (*range(MAX_REASONS + 5), 0):
        connection = advance(connection, packet(Kind.DROP, reason=reason))
    assert len(connection.drops) == MAX_REASONS
    assert connection.drops[0, False] == 2


def test_packet_without_a_socket_leaves_the_state_alone() -> None:
    connected = advance(CONNECTION, CONNECTED)
    dropped = advance(connected, packet(Kind.DROP))
    assert (dropped.state, dropped.mark, dropped.socket) == ("ESTABLISHED", connected.mark, connected.socket)


def test_packet_tells_the_port_of_a_socket_that_connects() -> None:
    connecting = advance(replace(CONNECTION, local=CONNECTING.local), CONNECTING)
    assert advance(connecting, packet(Kind.DROP)).local == CLIENT
