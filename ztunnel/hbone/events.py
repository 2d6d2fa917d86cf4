"""What a connection tells its owner: the results of `receive`, in the order in which the peer caused them.

They are mutable only because constructing a frozen dataclass costs five times as much; nobody changes them.
"""

from dataclasses import dataclass

from ztunnel.hbone.stream import Stream


@dataclass(slots=True)
class Data:
    """Bytes of a stream.

    Args:
        data: valid while the events of this `receive` are handled, no longer.
        flow_bytes: what the peer's window was charged, padding included: to be given to `consumed` when the bytes were taken.
    """

    stream: Stream
    data: memoryview
    flow_bytes: int


@dataclass(slots=True)
class Ended:
    """The peer will send no more on this stream (END_STREAM)."""

    stream: Stream


@dataclass(slots=True)
class Reset:
    """The stream is gone, in both directions: the peer reset it, or broke the protocol on it and we did.

    Args:
        code: an ErrorCode, or what else the peer sent.
    """

    stream: Stream
    code: int


@dataclass(slots=True)
class ConnectRequested:
    """A well-formed CONNECT; to be answered with `answer` (server).

    Args:
        authority: :authority as it was sent: visible ASCII, not empty, its form not checked.
        headers: all other fields, in order.
    """

    stream: Stream
    authority: str
    headers: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class ConnectAnswered:
    """The final response to our CONNECT (client); any 2xx means connected."""

    stream: Stream
    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Rejected:
    """A request that never became a stream: malformed, no CONNECT, or one too many. It has been answered (server)."""

    stream_id: int
    reason: str


@dataclass(slots=True)
class Writable:
    """A stream that was blocked may send again. Whoever waited longest comes first."""

    stream: Stream


@dataclass(slots=True)
class Settled:
    """The peer's first SETTINGS came."""


@dataclass(slots=True)
class GoAway:
    """The peer takes no more streams; those above last_stream_id were not looked at, and are reported as Reset."""

    last_stream_id: int
    code: int
    reason: str


@dataclass(slots=True)
class Pong:
    """The peer answered a `ping`."""

    payload: bytes


@dataclass(slots=True)
class ConnectionFailed:
    """Nothing can be sent or received any more; what is in `outgoing` (a GOAWAY) should still be written. The last event there is."""

    code: int
    reason: str


Event = Data | Ended | Reset | ConnectRequested | ConnectAnswered | Rejected | Writable | Settled | GoAway | Pong | ConnectionFailed
