"""What the owner of a connection asks for, and what is written for it."""

import pytest

from mesh.errors import LocalProtocolError
from tests.unit.ztunnel.hbone.transcript import Talk, connect, data, ping, reset
from ztunnel.hbone import ConnectRequested, Role, Stream, connect_block


def accepted(talk: Talk, stream_id: int = 1, end: bool = False) -> Stream:
    talk.send(connect(stream_id, end=end))
    return next(e.stream for e in talk.events if isinstance(e, ConnectRequested) and e.stream.id == stream_id)


@pytest.fixture
def server() -> Talk:
    return Talk(Role.SERVER).begin()


def test_200_opens_the_stream(server: Talk) -> None:
    stream = accepted(server)
    server.connection.answer(stream, 200)
    server.connection.send_data(stream, b"hello")
    server.connection.end_stream(stream)
    assert server.written() == ["Headers 1 :status=200", "Data 1 hello", "Data 1 END_STREAM"]
    assert stream.id in server.connection.streams
    assert server.send(data(1, b"", end=True)) == ["Ended 1"]
    assert server.connection.streams == {}


@pytest.mark.parametrize("status", [400, 401, 503])
def test_a_refusal_ends_the_stream_and_what_the_client_still_sends_is_dropped(server: Talk, status: int) -> None:
    server.connection.answer(accepted(server), status)
    assert server.written() == [f"Headers 1 :status={status} END_STREAM", "RstStream 1 NO_ERROR"]
    assert server.connection.streams == {}
    assert server.send(data(1, b"early"), data(1, b"", end=True), reset(1)) == []
    assert server.written() == []


def test_a_refusal_of_a_finished_request_needs_no_reset(server: Talk) -> None:
    server.connection.answer(accepted(server, end=True), 503)
    assert server.written() == ["Headers 1 :status=503 END_STREAM"]
    assert server.send(data(1, b"x")) == ["ConnectionFailed STREAM_CLOSED"]


def test_an_answer_is_given_once(server: Talk) -> None:
    stream = accepted(server)
    server.connection.answer(stream, 200)
    with pytest.raises(LocalProtocolError):
        server.connection.answer(stream, 200)


@pytest.mark.parametrize("status", [100, 199, 600])
def test_an_answer_is_final(server: Talk, status: int) -> None:
    with pytest.raises(LocalProtocolError):
        server.connection.answer(accepted(server), status)


def test_a_server_does_not_end_before_it_answers(server: Talk) -> None:
    with pytest.raises(LocalProtocolError):
        server.connection.end_stream(accepted(server))


def test_after_a_reset_by_us_what_was_on_its_way_is_dropped_and_counted(server: Talk) -> None:
    stream = accepted(server)
    server.connection.reset_stream(stream, 8)
    assert server.written() == ["RstStream 1 CANCEL"]
    assert server.send(data(1, b"late"), connect(3)) == ["ConnectRequested 3 10.0.0.1:80"]
    half = server.connection._receive_window // 2
    while half > 0:
        server.send(data(1, bytes(2**20)))
        half -= 2**20
    assert any(line.startswith("WindowUpdate 0 ") for line in server.written())


def test_a_stream_reset_in_the_middle_of_a_frame_gets_no_more_of_it(server: Talk) -> None:
    stream = accepted(server)
    frame = data(1, b"0123456789")
    assert server.send(frame[:13]) == ["Data 1 0123 (4)"]
    server.connection.reset_stream(stream, 8)
    assert server.send(frame[13:], ping()) == []
    assert server.written() == ["RstStream 1 CANCEL", "Ping 12345678 ACK"]


def test_calls_for_a_stream_that_is_gone_do_nothing(server: Talk) -> None:
    stream = accepted(server)
    server.send(reset(1))
    connection = server.connection
    connection.answer(stream, 200)
    connection.end_stream(stream)
    connection.reset_stream(stream, 8)
    connection.consumed(stream, 1 << 20)
    connection.block(stream)
    assert connection.sendable(stream) == 0
    assert server.written() == []


def test_end_stream_twice_is_once(server: Talk) -> None:
    stream = accepted(server)
    server.connection.answer(stream, 200)
    server.connection.end_stream(stream)
    server.connection.end_stream(stream)
    assert server.written() == ["Headers 1 :status=200", "Data 1 END_STREAM"]


def test_go_away_lets_streams_go_on_and_looks_at_no_new_ones(server: Talk) -> None:
    accepted(server)
    server.connection.go_away()
    assert server.written() == ["GoAway 1 NO_ERROR"]
    assert server.send(connect(3), data(3, b"x"), data(1, b"y", end=True)) == ["Data 1 y (1)", "Ended 1"]
    assert server.written() == []


def test_what_goaway_promised_never_grows(server: Talk) -> None:
    accepted(server)
    server.connection.go_away()
    server.send(connect(3), data(99, b"x"))
    assert server.written() == ["GoAway 1 NO_ERROR", "GoAway 1 PROTOCOL_ERROR"]


def test_ping_and_its_answer(server: Talk) -> None:
    server.connection.ping(b"ambient!")
    assert server.written() == ["Ping ambient!"]
    for payload in (b"short", b"\x00hb-rtt\x00"):
        with pytest.raises(LocalProtocolError):
            server.connection.ping(payload)


def test_the_end_of_the_transport_is_reported_once_and_only_if_it_cut_something_off(server: Talk) -> None:
    assert server.connection.receive_eof() == []
    cut = Talk(Role.SERVER).begin()
    accepted(cut)
    [event] = cut.connection.receive_eof()
    assert "1 streams" in event.reason
    assert cut.connection.receive_eof() == []
    assert cut.send(ping()) == []


@pytest.mark.parametrize("part", [data(1, b"abc")[:11], ping()[:5], b"\0"])
def test_the_end_of_the_transport_inside_a_frame_is_a_failure(server: Talk, part: bytes) -> None:
    server.connection.answer(accepted(server, end=True), 503)
    server.connection.answer(accepted(server, 3), 503)
    part = part.replace(b"\0\0\0\1", b"\0\0\0\3")
    server.send(part)
    assert len(server.connection.receive_eof()) == 1


def test_a_failed_connection_takes_calls_and_does_nothing() -> None:
    talk = Talk(Role.CLIENT).begin()
    stream = talk.connection.open_stream(connect_block("a:1", ()), None)
    talk.send(b"\0\0\1\0\0\0\0\0\0x")
    talk.written()
    connection = talk.connection
    connection.reset_stream(stream, 8)
    connection.end_stream(stream)
    connection.block(stream)
    connection.consumed(stream, 10)
    connection.ping(b"ambient!")
    connection.go_away()
    assert connection.sendable(stream) == 0
    assert list(connection.streams) == [1]
    assert talk.written() == []


def test_events_hold_the_only_references_to_the_data(server: Talk) -> None:
    """Whoever owns the buffer may resize it as soon as the events are dropped."""
    accepted(server)
    buffer = bytearray(data(1, b"abc"))
    with memoryview(buffer) as view:
        events = server.connection.receive(view, 0.0)
        assert len(events) == 1
        del events
    buffer += b"more"
