"""What a client makes of each kind of frame. Stream 1 was opened before; each conversation is held whole and byte by byte."""

from typing import NamedTuple

import pytest

from mesh.errors import LocalProtocolError
from tests.unit.ztunnel.hbone.transcript import Talk, ack, connect, data, goaway, headers, joined, padded, ping, raw, reset, settings
from ztunnel.hbone import Role, connect_block, literal_field

BLOCK = connect_block("10.0.0.1:80", (("baggage", "a=b"),))
ANSWERED = "ConnectAnswered 1 200"
REFUSED = "ConnectAnswered 1 503"
BROKEN = ["RstStream 1 PROTOCOL_ERROR"]


class Case(NamedTuple):
    sent: tuple[bytes, ...]
    events: list[str]
    written: list[str]


def answer(status: str = "200", *more: tuple[str, str], end: bool = False) -> bytes:
    return headers(1, (":status", status), *more, end=end)


def broken(*sent: bytes, events: tuple[str, ...] = ()) -> Case:
    """The stream is reset, the connection goes on."""
    return Case((*sent, ping()), [*events, "Reset 1 PROTOCOL_ERROR"], [*BROKEN, "Ping 12345678 ACK"])


def failed(code: str, *sent: bytes, events: tuple[str, ...] = ()) -> Case:
    return Case(sent, [*events, f"ConnectionFailed {code}"], [f"GoAway 0 {code}"])


CASES = {
    "connected": Case((answer(),), [ANSWERED], []),
    "connected with fields": Case((answer("200", ("server", "x")),), [f"{ANSWERED} server=x"], []),
    "connected by another 2xx": Case((answer("204"), data(1, b"x")), ["ConnectAnswered 1 204", "Data 1 x (1)"], []),
    "connected after interim responses": Case((answer("100"), answer("103", ("link", "x")), answer()), [ANSWERED], []),
    "refused": Case((answer("503", end=True),), [REFUSED, "Ended 1"], []),
    "refused and reset": Case((answer("503", end=True), reset(1, 0)), [REFUSED, "Ended 1", "Reset 1 NO_ERROR"], []),
    "refused with a body": Case((answer("503"), data(1, b"why", end=True)), [REFUSED, "Data 1 why (3)", "Ended 1"], []),
    "refused with trailers": Case((answer("503"), headers(1, ("a", "b"), end=True)), [REFUSED, "Ended 1"], []),
    "trailers that do not end a refusal": broken(answer("503"), headers(1, ("a", "b")), events=(REFUSED,)),
    "trailers with a pseudo-header": broken(answer("503"), headers(1, (":status", "200"), end=True), events=(REFUSED,)),
    "trailers on a connected stream": broken(answer(), headers(1, ("a", "b"), end=True), events=(ANSWERED,)),
    "data": Case((answer(), data(1, b"a"), padded(1, b"b", 3, end=True)), [ANSWERED, "Data 1 ab (6)", "Ended 1"], []),
    "data before the answer": broken(data(1, b"x")),
    "no status": broken(headers(1, ("server", "x"))),
    "status of two digits": broken(answer("20")),
    "status in words": broken(answer("abc")),
    "switching protocols": broken(answer("101")),
    "method in a response": broken(answer("200", (":method", "CONNECT"))),
    "end of stream on an interim response": broken(answer("100", end=True)),
    "upper case": broken(answer("200", ("Server", "x"))),
    "connection": broken(answer("200", ("connection", "close"))),
    "headers after the end": Case(
        (answer(end=True), answer(end=True)), [ANSWERED, "Ended 1", "Reset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]
    ),
    "data after the end": Case(
        (answer(end=True), data(1, b"x")), [ANSWERED, "Ended 1", "Reset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]
    ),
    "refused stream": Case((reset(1, 7),), ["Reset 1 REFUSED_STREAM"], []),
    "answer on a stream nobody opened": failed("PROTOCOL_ERROR", headers(3, (":status", "200"))),
    "request to a client": failed("PROTOCOL_ERROR", connect(2)),
    "push": failed("PROTOCOL_ERROR", raw(5, 4, 1, bytes(8))),
    "server allows pushes": failed("PROTOCOL_ERROR", raw(4, 0, 0, b"\0\2\0\0\0\1")),
    "goaway that knows the stream": Case((goaway(1), answer()), ["GoAway 1 NO_ERROR", ANSWERED], []),
    "goaway that does not": Case((goaway(0), answer()), ["GoAway 0 NO_ERROR", "Reset 1 REFUSED_STREAM"], ["RstStream 1 STREAM_CLOSED"]),
}


@pytest.mark.parametrize("portion", [None, 1, 7])
@pytest.mark.parametrize("name", CASES)
def test_conversation(name: str, portion: int | None) -> None:
    case = CASES[name]
    talk = Talk(Role.CLIENT).begin()
    talk.connection.open_stream(BLOCK, None)
    assert talk.written() == ["Headers 1 :method=CONNECT :authority=10.0.0.1:80 baggage=a=b"]
    assert joined(talk.send(*case.sent, portion=portion)) == case.events
    assert talk.written() == case.written


def test_a_client_sends_before_it_hears_anything() -> None:
    talk = Talk(Role.CLIENT)
    talk.connection.start()
    stream = talk.connection.open_stream(BLOCK + literal_field(b"forwarded", b'for="10.0.0.9:1234"'), "mine")
    talk.connection.send_data(stream, b"hello")
    assert stream.owner == "mine"
    assert talk.written() == [
        "preface",
        "Settings 2=0 4=262144 5=1048576 6=16384",
        f"WindowUpdate 0 {16 * 2**20 - 65535}",
        'Headers 1 :method=CONNECT :authority=10.0.0.1:80 baggage=a=b forwarded=for="10.0.0.9:1234"',
        "Data 1 hello",
    ]


def test_a_client_assumes_100_streams_until_it_is_told() -> None:
    talk = Talk(Role.CLIENT)
    for _ in range(100):
        talk.connection.open_stream(BLOCK, None)
    assert not talk.connection.can_open()
    with pytest.raises(LocalProtocolError):
        talk.connection.open_stream(BLOCK, None)
    talk.send(settings())
    assert talk.connection.can_open()
    talk.send(settings(max_concurrent_streams=101))
    talk.connection.open_stream(BLOCK, None)
    assert not talk.connection.can_open()
    talk.send(reset(1))
    assert talk.connection.can_open()


def test_nothing_is_opened_once_either_side_goes_away() -> None:
    for leave in (lambda talk: talk.send(goaway(0)), lambda talk: talk.connection.go_away(), lambda talk: talk.connection.receive_eof()):
        talk = Talk(Role.CLIENT).begin()
        assert talk.connection.can_open()
        leave(talk)
        assert not talk.connection.can_open()


def test_only_a_client_opens() -> None:
    assert not Talk(Role.SERVER).begin().connection.can_open()


def test_a_block_longer_than_a_frame_is_continued() -> None:
    talk = Talk(Role.CLIENT).begin()
    talk.connection.open_stream(BLOCK + literal_field(b"x", b"y" * 40_000), None)
    octets = b"".join(talk.connection.outgoing)
    lengths = []
    while octets:
        length = int.from_bytes(octets[:3], "big")
        lengths.append((octets[3], octets[4], length))
        octets = octets[9 + length :]
    assert [(kind, flags) for kind, flags, _ in lengths] == [(1, 0), (9, 0), (9, 4)]
    assert [length for _, _, length in lengths[:2]] == [16384, 16384]


def test_only_the_first_block_says_that_the_table_is_not_used() -> None:
    talk = Talk(Role.CLIENT).begin(header_table_size=0)
    for head in (b"\x20", b""):
        talk.connection.open_stream(BLOCK, None)
        assert talk.connection.outgoing.pop()[9:] == head + BLOCK


def test_the_reason_of_a_goaway_is_bounded() -> None:
    talk = Talk(Role.CLIENT).begin()
    talk.send(goaway(0, 2, b"x" * 10_000))
    assert talk.events[-1].reason == "x" * 256


def test_settings_come_before_their_acknowledgement() -> None:
    talk = Talk(Role.CLIENT)
    talk.connection.start()
    assert talk.send(ack()) == ["ConnectionFailed PROTOCOL_ERROR"]
