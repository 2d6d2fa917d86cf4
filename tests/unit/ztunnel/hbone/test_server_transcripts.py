"""What a server makes of each kind of frame: events, and what it writes. Each conversation is held whole and byte by byte."""

from typing import NamedTuple

import pytest

from tests.unit.ztunnel.hbone.transcript import (
    CONNECT,
    PREFACE,
    Talk,
    ack,
    block,
    connect,
    data,
    goaway,
    headers,
    joined,
    padded,
    ping,
    raw,
    reset,
    settings,
    window,
)
from ztunnel.hbone import Role

REQUESTED = "ConnectRequested 1 10.0.0.1:80"
GET = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x"))
BLOCK = block(CONNECT)
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32


class Case(NamedTuple):
    sent: tuple[bytes, ...]
    events: list[str]
    written: list[str]


def failed(code: str, last: int = 0, events: tuple[str, ...] = (), sent: tuple[bytes, ...] = ()) -> Case:
    """After these frames the connection is given up."""
    return Case(sent, [*events, f"ConnectionFailed {code}"], [f"GoAway {last} {code}"])


def malformed(*fields: tuple[str, str]) -> Case:
    """A request that is answered by RST_STREAM alone."""
    return Case((headers(1, *fields),), ["Rejected 1"], ["RstStream 1 PROTOCOL_ERROR"])


CASES = {
    # Requests
    "connect": Case((connect(),), [REQUESTED], []),
    "connect with fields": Case((connect(1, ("baggage", "a=b"), ("te", "trailers")),), [f"{REQUESTED} baggage=a=b te=trailers"], []),
    "connect and nothing more": Case((connect(end=True),), [REQUESTED, "Ended 1"], []),
    "padded, prioritised headers": Case(
        (raw(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x03" + b"\0\0\0\0\x10" + BLOCK + b"\0\0\0"),), [REQUESTED], []
    ),
    "headers in three frames": Case(
        (raw(HEADERS, 0, 1, BLOCK[:3]), raw(CONTINUATION, 0, 1, BLOCK[3:9]), raw(CONTINUATION, END_HEADERS, 1, BLOCK[9:])),
        [REQUESTED],
        [],
    ),
    "end of stream on headers that are continued": Case(
        (raw(HEADERS, END_STREAM, 1, BLOCK[:3]), raw(CONTINUATION, END_HEADERS, 1, BLOCK[3:])), [REQUESTED, "Ended 1"], []
    ),
    "get": Case((headers(1, *GET, end=True),), ["Rejected 1"], ["Headers 1 :status=405 allow=CONNECT END_STREAM"]),
    "post with a body": Case(
        (headers(1, (":method", "POST"), *GET[1:]), data(1, b"body", end=True), connect(3)),
        ["Rejected 1", "ConnectRequested 3 10.0.0.1:80"],
        ["Headers 1 :status=405 allow=CONNECT END_STREAM", "RstStream 1 NO_ERROR"],
    ),
    "reserved bit of the stream id": Case((raw(HEADERS, END_HEADERS, 1 << 31 | 1, BLOCK),), [REQUESTED], []),
    # Malformed requests
    "no authority": malformed((":method", "CONNECT")),
    "empty authority": malformed((":method", "CONNECT"), (":authority", "")),
    "authority with a blank": malformed((":method", "CONNECT"), (":authority", "a b:80")),
    "scheme on connect": malformed(*CONNECT, (":scheme", "https")),
    "path on connect": malformed(*CONNECT, (":path", "/")),
    "protocol on connect": malformed(*CONNECT, (":protocol", "websocket")),
    "status on connect": malformed(*CONNECT, (":status", "200")),
    "pseudo-header twice": malformed(*CONNECT, (":method", "CONNECT")),
    "pseudo-header after a field": malformed((":method", "CONNECT"), ("a", "b"), (":authority", "x:1")),
    "no method": malformed((":authority", "x:1")),
    "get without path": malformed((":method", "GET"), (":scheme", "http")),
    "get with empty path": malformed((":method", "GET"), (":scheme", "http"), (":path", "")),
    "method with a blank": malformed((":method", "GE T"), *GET[1:]),
    "upper case": malformed(*CONNECT, ("Baggage", "a")),
    "blank in a name": malformed(*CONNECT, ("a b", "a")),
    "empty name": malformed(*CONNECT, ("", "a")),
    "line break in a value": malformed(*CONNECT, ("a", "b\r\nc: d")),
    "zero in a value": malformed(*CONNECT, ("a", "b\0c")),
    "escape in a value": malformed(*CONNECT, ("a", "b\x1b[1mc")),
    "blank before a value": malformed(*CONNECT, ("a", " b")),
    "tab after a value": malformed(*CONNECT, ("a", "b\t")),
    "connection": malformed(*CONNECT, ("connection", "close")),
    "transfer-encoding": malformed(*CONNECT, ("transfer-encoding", "chunked")),
    "upgrade": malformed(*CONNECT, ("upgrade", "h2c")),
    "keep-alive": malformed(*CONNECT, ("keep-alive", "1")),
    "proxy-connection": malformed(*CONNECT, ("proxy-connection", "x")),
    "te": malformed(*CONNECT, ("te", "gzip")),
    "others go on after a malformed request": Case(
        (connect(1), headers(3, *CONNECT, ("X", "y")), data(1, b"on")),
        [REQUESTED, "Rejected 3", "Data 1 on (2)"],
        ["RstStream 3 PROTOCOL_ERROR"],
    ),
    "data of a malformed request": Case(
        (headers(1, *CONNECT, ("X", "y")), data(1, b"early"), data(1, b"", end=True)), ["Rejected 1"], ["RstStream 1 PROTOCOL_ERROR"]
    ),
    # Streams
    "stream 0 has no headers": failed("PROTOCOL_ERROR", sent=(raw(HEADERS, END_HEADERS, 0, BLOCK),)),
    "even stream": failed("PROTOCOL_ERROR", sent=(connect(2),)),
    "stream ids may be left out, not made up for": failed(
        "PROTOCOL_ERROR", 5, ("ConnectRequested 5 10.0.0.1:80",), (connect(5), connect(3))
    ),
    "stream id used again": Case((connect(), reset(1), connect(), connect()), [REQUESTED, "Reset 1 CANCEL"], ["RstStream 1 STREAM_CLOSED"]),
    "trailers on connect": Case(
        (connect(), headers(1, ("a", "b"), end=True)), [REQUESTED, "Reset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]
    ),
    "headers after the end": Case(
        (connect(end=True), headers(1, ("a", "b"))), [REQUESTED, "Ended 1", "Reset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]
    ),
    "reset": Case((connect(), reset(1, 8)), [REQUESTED, "Reset 1 CANCEL"], []),
    "reset with a code nobody knows": Case((connect(), reset(1, 77)), [REQUESTED, "Reset 1 0x4d"], []),
    "reset twice": Case((connect(), reset(1), reset(1)), [REQUESTED, "Reset 1 CANCEL"], []),
    "reset of an idle stream": failed("PROTOCOL_ERROR", sent=(reset(1),)),
    "reset of stream 0": failed("PROTOCOL_ERROR", sent=(raw(RST, 0, 0, bytes(4)),)),
    "reset too short": failed("FRAME_SIZE_ERROR", 1, (REQUESTED,), (connect(), raw(RST, 0, 1, bytes(3)))),
    "data after reset by the peer": Case(
        (connect(), reset(1), data(1, b"x"), data(1, b"y")), [REQUESTED, "Reset 1 CANCEL"], ["RstStream 1 STREAM_CLOSED"]
    ),
    # DATA
    "data": Case((connect(), data(1, b"abc"), data(1, b"def", end=True)), [REQUESTED, "Data 1 abcdef (6)", "Ended 1"], []),
    "empty data with the end": Case((connect(), data(1, b"", end=True)), [REQUESTED, "Ended 1"], []),
    "data with flags nobody knows": Case((connect(), raw(DATA, 0xF6, 1, b"abc")), [REQUESTED, "Data 1 abc (3)"], []),
    "padded data": Case((connect(), padded(1, b"abc", 5, end=True)), [REQUESTED, "Data 1 abc (9)", "Ended 1"], []),
    "nothing but padding": Case((connect(), padded(1, b"", 5), data(1, b"a")), [REQUESTED, "Data 1 a (1)"], []),
    "padding as long as the frame": failed("PROTOCOL_ERROR", 1, (REQUESTED,), (connect(), raw(DATA, PADDED, 1, b"\x03ab"))),
    "padded without a length": failed("FRAME_SIZE_ERROR", 1, (REQUESTED,), (connect(), raw(DATA, PADDED, 1))),
    "data on stream 0": failed("PROTOCOL_ERROR", sent=(data(1, b"x").replace(b"\0\0\0\1x", b"\0\0\0\0x"),)),
    "data on an idle stream": failed("PROTOCOL_ERROR", sent=(data(1, b"x"),)),
    "data on an even stream": failed("PROTOCOL_ERROR", 1, (REQUESTED,), (connect(), data(2, b"x"))),
    "data after the end": Case(
        (connect(end=True), data(1, b"x")), [REQUESTED, "Ended 1", "Reset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]
    ),
    # Header blocks
    "data between headers and continuation": failed("PROTOCOL_ERROR", 1, (REQUESTED,), (connect(), raw(HEADERS, 0, 3), data(1, b"x"))),
    "ping between headers and continuation": failed("PROTOCOL_ERROR", sent=(raw(HEADERS, 0, 1), ping())),
    "unknown frame between headers and continuation": failed("PROTOCOL_ERROR", sent=(raw(HEADERS, 0, 1), raw(99, 0, 1))),
    "continuation of another stream": failed("PROTOCOL_ERROR", sent=(raw(HEADERS, 0, 1), raw(CONTINUATION, 4, 3))),
    "continuation of nothing": failed("PROTOCOL_ERROR", sent=(raw(CONTINUATION, 4, 1, BLOCK),)),
    "continuation of what was complete": failed("PROTOCOL_ERROR", 1, (REQUESTED,), (connect(), raw(CONTINUATION, 4, 1))),
    "undecodable block": failed("COMPRESSION_ERROR", sent=(raw(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),)),
    "index beyond the table": failed("COMPRESSION_ERROR", sent=(raw(HEADERS, END_HEADERS, 1, b"\xbe"),)),
    "truncated literal": failed("COMPRESSION_ERROR", sent=(raw(HEADERS, END_HEADERS, 1, b"\x00\x05ab"),)),
    "table larger than allowed": failed("COMPRESSION_ERROR", sent=(raw(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f" + BLOCK),)),
    "table size updates": Case((raw(HEADERS, END_HEADERS, 1, b"\x20\x3f\xe1\x1f" + BLOCK),), [REQUESTED], []),
    "three table size updates": failed("COMPRESSION_ERROR", sent=(raw(HEADERS, END_HEADERS, 1, b"\x20\x20\x20" + BLOCK),)),
    "table size update after a field": failed("COMPRESSION_ERROR", sent=(raw(HEADERS, END_HEADERS, 1, BLOCK + b"\x20"),)),
    "padding longer than headers": failed("PROTOCOL_ERROR", sent=(raw(HEADERS, END_HEADERS | PADDED, 1, b"\x09abc"),)),
    "padded headers without a length": failed("FRAME_SIZE_ERROR", sent=(raw(HEADERS, END_HEADERS | PADDED, 1),)),
    "headers too short for priority": failed("FRAME_SIZE_ERROR", sent=(raw(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"abcd"),)),
    "headers longer than any": failed("ENHANCE_YOUR_CALM", sent=(raw(HEADERS, END_HEADERS, 1, bytes(16385)),)),
    "header list larger than allowed": failed(
        "ENHANCE_YOUR_CALM",
        sent=(raw(HEADERS, END_HEADERS, 1, b"\x40\x01a\x7f\x81\x0f" + bytes(2048) + b"\xbe" * 8),),
    ),
    # SETTINGS
    "settings": Case((settings(max_frame_size=20000),), [], ["Settings ACK"]),
    "unknown setting": Case((raw(SETTINGS, 0, 0, b"\xab\xcd\0\0\0\1"),), [], ["Settings ACK"]),
    "client may take pushes": Case((settings(enable_push=1),), [], ["Settings ACK"]),
    "settings of a stream": failed("PROTOCOL_ERROR", sent=(raw(SETTINGS, 0, 1),)),
    "settings of five bytes": failed("FRAME_SIZE_ERROR", sent=(raw(SETTINGS, 0, 0, bytes(5)),)),
    "acknowledgement with settings": failed("FRAME_SIZE_ERROR", sent=(raw(SETTINGS, 1, 0, bytes(6)),)),
    "second acknowledgement": failed("PROTOCOL_ERROR", sent=(ack(),)),
    "enable_push 2": failed("PROTOCOL_ERROR", sent=(raw(SETTINGS, 0, 0, b"\0\2\0\0\0\2"),)),
    "enable_connect_protocol 2": failed("PROTOCOL_ERROR", sent=(raw(SETTINGS, 0, 0, b"\0\x08\0\0\0\2"),)),
    "window too large": failed("FLOW_CONTROL_ERROR", sent=(raw(SETTINGS, 0, 0, b"\0\4\x80\0\0\0"),)),
    "frame size too small": failed("PROTOCOL_ERROR", sent=(raw(SETTINGS, 0, 0, b"\0\5\0\0\x3f\xff"),)),
    "frame size too large": failed("PROTOCOL_ERROR", sent=(raw(SETTINGS, 0, 0, b"\0\5\1\0\0\0"),)),
    "settings longer than any": failed("ENHANCE_YOUR_CALM", sent=(raw(SETTINGS, 0, 0, bytes(16386)),)),
    # PING, PRIORITY, GOAWAY, PUSH_PROMISE, unknown
    "ping": Case((ping(),), [], ["Ping 12345678 ACK"]),
    "answer to a ping": Case((raw(PING, 1, 0, b"12345678"),), ["Pong 12345678"], []),
    "ping of a stream": failed("PROTOCOL_ERROR", sent=(raw(PING, 0, 1, bytes(8)),)),
    "ping of seven bytes": failed("FRAME_SIZE_ERROR", sent=(raw(PING, 0, 0, bytes(7)),)),
    "priority of an idle stream": Case((raw(PRIORITY, 0, 7, bytes(5)), connect()), [REQUESTED], []),
    "priority of stream 0": failed("PROTOCOL_ERROR", sent=(raw(PRIORITY, 0, 0, bytes(5)),)),
    "priority of four bytes": failed("FRAME_SIZE_ERROR", sent=(raw(PRIORITY, 0, 1, bytes(4)),)),
    "push": failed("PROTOCOL_ERROR", sent=(raw(PUSH, 4, 1, bytes(8)),)),
    "goaway": Case((connect(), goaway(0, 2, b"bye\n"), data(1, b"x")), [REQUESTED, "GoAway 0 INTERNAL_ERROR bye?", "Data 1 x (1)"], []),
    "goaway of a stream": failed("PROTOCOL_ERROR", sent=(raw(GOAWAY, 0, 1, bytes(8)),)),
    "goaway of seven bytes": failed("FRAME_SIZE_ERROR", sent=(raw(GOAWAY, 0, 0, bytes(7)),)),
    "unknown frame": Case((raw(99, 0xFF, 0, b"whatever"), connect()), [REQUESTED], []),
    "long unknown frame": Case((raw(99, 0, 3, bytes(70_000)), connect()), [REQUESTED], []),
    "frame longer than we allow": failed("FRAME_SIZE_ERROR", sent=(b"\x10\x00\x01\x00\x00\x00\x00\x00\x01",)),
    # WINDOW_UPDATE
    "window by nothing": failed("PROTOCOL_ERROR", sent=(window(0, 0),)),
    "window of a stream by nothing": Case((connect(), window(1, 0)), [REQUESTED, "Reset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    "window beyond 2^31-1": failed("FLOW_CONTROL_ERROR", sent=(window(0, 2**31 - 1),)),
    "window of a stream beyond 2^31-1": Case(
        (connect(), window(1, 2**31 - 1)), [REQUESTED, "Reset 1 FLOW_CONTROL_ERROR"], ["RstStream 1 FLOW_CONTROL_ERROR"]
    ),
    "window of an idle stream": failed("PROTOCOL_ERROR", sent=(window(1, 1),)),
    "window of a stream that is gone": Case((connect(), reset(1), window(1, 1)), [REQUESTED, "Reset 1 CANCEL"], []),
    "window of three bytes": failed("FRAME_SIZE_ERROR", sent=(raw(WINDOW, 0, 0, bytes(3)),)),
    "window beyond 2^31-1 by settings": failed(
        "FLOW_CONTROL_ERROR",
        1,
        (REQUESTED,),
        (connect(), window(1, 2**31 - 1 - 65535), settings(initial_window_size=65536)),
    ),
}


@pytest.mark.parametrize("portion", [None, 1, 7])
@pytest.mark.parametrize("name", CASES)
def test_conversation(name: str, portion: int | None) -> None:
    case = CASES[name]
    talk = Talk(Role.SERVER).begin()
    assert joined(talk.send(*case.sent, portion=portion)) == case.events
    assert talk.written() == case.written
    if case.events[-1:] and case.events[-1].startswith("ConnectionFailed"):
        assert talk.send(connect(99)) == []
        assert talk.written() == []


@pytest.mark.parametrize("portion", [None, 1])
@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PREFACE[:-1] + b"x", PREFACE + ping(), PREFACE + ack(), PREFACE + connect(), b"\x16\x03\x01"],
)
def test_what_does_not_begin_as_http2_is_refused(sent: bytes, portion: int | None) -> None:
    talk = Talk(Role.SERVER)
    talk.connection.start()
    assert talk.send(sent, portion=portion) == ["ConnectionFailed PROTOCOL_ERROR"]
    assert talk.written()[-1] == "GoAway 0 PROTOCOL_ERROR"


def test_a_server_says_what_it_allows_and_settles_once() -> None:
    talk = Talk(Role.SERVER)
    talk.connection.start()
    assert talk.written() == ["Settings 3=256 4=262144 5=1048576 6=16384", f"WindowUpdate 0 {16 * 2**20 - 65535}"]
    assert talk.send(PREFACE, settings(), settings()) == ["Settled"]
    assert talk.written() == ["Settings ACK", "Settings ACK"]
