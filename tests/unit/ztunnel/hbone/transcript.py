"""Conversations with a connection, written down: frames in, and events and frames out as lines of text.

Frames are built and read by hyperframe and hpack, which know nothing of the code under test.
"""

from collections.abc import Iterable

import hpack
from hyperframe import frame as hf

from ztunnel.hbone import (
    Budget,
    ConnectAnswered,
    Connection,
    ConnectionFailed,
    ConnectRequested,
    Data,
    ErrorCode,
    Event,
    GoAway,
    Limits,
    Pong,
    Rejected,
    Reset,
    Role,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONNECT = ((":method", "CONNECT"), (":authority", "10.0.0.1:80"))
ROOMY = 1 << 40


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame as it is written here, right or wrong."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """SETTINGS; names as in the RFC, in lower case."""
    keys = {getattr(hf.SettingsFrame, name.upper()): value for name, value in values.items()}
    return hf.SettingsFrame(0, settings=keys).serialize()


def ack() -> bytes:
    return hf.SettingsFrame(0, flags=["ACK"]).serialize()


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Literals that no table remembers."""
    return hpack.Encoder().encode([(name, value, True) for name, value in fields], huffman=False)


def headers(stream_id: int, *fields: tuple[str, str], end: bool = False, flags: tuple[str, ...] = ("END_HEADERS",)) -> bytes:
    return hf.HeadersFrame(stream_id, block(fields), flags=[*flags, *(["END_STREAM"] if end else [])]).serialize()


def connect(stream_id: int = 1, *more: tuple[str, str], end: bool = False) -> bytes:
    return headers(stream_id, *CONNECT, *more, end=end)


def data(stream_id: int, payload: bytes, end: bool = False) -> bytes:
    return hf.DataFrame(stream_id, payload, flags=["END_STREAM"] if end else []).serialize()


def padded(stream_id: int, payload: bytes, pad_length: int, end: bool = False) -> bytes:
    return hf.DataFrame(stream_id, payload, pad_length=pad_length, flags=["PADDED", *(["END_STREAM"] if end else [])]).serialize()


def reset(stream_id: int, code: int = ErrorCode.CANCEL) -> bytes:
    return hf.RstStreamFrame(stream_id, code).serialize()


def window(stream_id: int, increment: int) -> bytes:
    return raw(8, 0, stream_id, increment.to_bytes(4, "big"))


def goaway(last_stream_id: int, code: int = ErrorCode.NO_ERROR, reason: bytes = b"") -> bytes:
    return hf.GoAwayFrame(0, last_stream_id, code, reason).serialize()


def ping(payload: bytes = b"12345678") -> bytes:
    return hf.PingFrame(0, payload).serialize()


def event_line(event: Event) -> str:
    """One event as a line: its kind, its stream, and the rest."""
    stream = getattr(event, "stream", None)
    return " ".join([type(event).__name__, *([str(stream.id)] if stream else []), *_details(event)]).rstrip()


def _details(event: Event) -> list[str]:
    details: list[str] = []
    if isinstance(event, Data):
        details = [bytes(event.data).decode("latin-1"), f"({event.flow_bytes})"]
    elif isinstance(event, ConnectRequested | ConnectAnswered):
        first = event.authority if isinstance(event, ConnectRequested) else str(event.status)
        details = [first, *(f"{name}={value}" for name, value in event.headers)]
    elif isinstance(event, Reset | ConnectionFailed):
        details = [ErrorCode.name_of(event.code)]
    elif isinstance(event, Rejected):
        details = [str(event.stream_id)]
    elif isinstance(event, GoAway):
        details = [str(event.last_stream_id), ErrorCode.name_of(event.code), event.reason]
    elif isinstance(event, Pong):
        details = [event.payload.decode("latin-1")]
    return details


def frame_line(frame: hf.Frame, decoder: hpack.Decoder) -> str:
    """One frame as a line."""
    name, number = type(frame).__name__.removesuffix("Frame"), frame.stream_id
    if isinstance(frame, hf.HeadersFrame):
        fields = (f"{k}={v}" for k, v in decoder.decode(frame.data))
        return " ".join([name, str(number), *fields, *sorted(flag for flag in frame.flags if flag != "END_HEADERS")])
    if isinstance(frame, hf.DataFrame):
        return " ".join([name, str(number), frame.data.decode(), *frame.flags]).replace("  ", " ")
    if isinstance(frame, hf.RstStreamFrame):
        return f"{name} {number} {ErrorCode.name_of(frame.error_code)}"
    if isinstance(frame, hf.GoAwayFrame):
        return f"{name} {frame.last_stream_id} {ErrorCode.name_of(frame.error_code)}"
    if isinstance(frame, hf.WindowUpdateFrame):
        return f"{name} {number} {frame.window_increment}"
    if isinstance(frame, hf.PingFrame):
        return " ".join([name, frame.opaque_data.decode(), *frame.flags])
    if isinstance(frame, hf.SettingsFrame):
        return " ".join([name, *frame.flags, *(f"{key}={value}" for key, value in sorted(frame.settings.items()))])
    raise AssertionError(f"we never send {frame}")


class Talk:
    """A connection and the other end of its wire."""

    def __init__(self, role: Role, limits: Limits | None = None, budget: Budget | None = None) -> None:
        self.connection = Connection(role, limits or Limits(), budget or Budget(ROOMY))
        self.now_s = 1000.0
        self.events: list[Event] = []
        self.decoder = hpack.Decoder()

    def begin(self, **peer_settings: int) -> "Talk":
        """Both sides have said who they are; none of it is in what is read later."""
        self.connection.start()
        self.send(PREFACE if self.connection.role is Role.SERVER else b"", settings(**peer_settings), ack())
        self.written()
        self.events.clear()
        return self

    def send(self, *frames: bytes, portion: int | None = None) -> list[str]:
        """Lets the connection receive frames, in portions of so many bytes (None: all at once); returns the events."""
        lines: list[str] = []
        octets = b"".join(frames)
        for at in range(0, len(octets), portion or max(1, len(octets))):
            events = self.connection.receive(memoryview(octets[at : at + (portion or len(octets))]), self.now_s)
            self.events += events
            lines += map(event_line, events)
        return lines

    def written(self) -> list[str]:
        """The frames that the connection wants written, taken from it."""
        octets, self.connection.outgoing = b"".join(self.connection.outgoing), []
        lines = []
        if octets.startswith(PREFACE):
            octets = octets[len(PREFACE) :]
            lines.append("preface")
        while octets:
            frame, length = hf.Frame.parse_frame_header(memoryview(octets[:9]))
            frame.parse_body(memoryview(octets[9 : 9 + length]))
            lines.append(frame_line(frame, self.decoder))
            octets = octets[9 + length :]
        return lines


def joined(lines: Iterable[str]) -> list[str]:
    """Event lines with the Data of a stream that follow each other made one, as if they had arrived at once."""
    result: list[str] = []
    for line in lines:
        before = result[-1].split(" ") if result else []
        now = line.split(" ")
        if now[0] == "Data" and before[:2] == now[:2]:
            flow = int(before[3][1:-1]) + int(now[3][1:-1])
            result[-1] = f"Data {now[1]} {before[2]}{now[2]} ({flow})"
        else:
            result.append(line)
    return result
