"""The streams of a connection: finding them, ending them, and counting what a peer does to keep us busy."""

import enum

from ztunnel.hbone import frames
from ztunnel.hbone.blocks import NO_DYNAMIC_TABLE
from ztunnel.hbone.codes import ConnectionViolation, ErrorCode, StreamViolation
from ztunnel.hbone.events import ConnectionFailed, Ended, Event, Rejected, Reset
from ztunnel.hbone.flood import Credits
from ztunnel.hbone.limits import Budget, Limits
from ztunnel.hbone.memory import Gone, GoneStreams
from ztunnel.hbone.outbound import Outbound
from ztunnel.hbone.stream import NO_DATA, Stream

# What a piece of work gives back of the credits for frames that carry none: a peer may answer each with WINDOW_UPDATEs for the
# stream and the connection, and with a PING.
_CREDITS_PER_WORK = 4


class Role(enum.Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class Lifecycle(Outbound):
    """What both halves of a connection share; see Connection for the whole."""

    __slots__ = (
        "_block_prefix",
        "_budget",
        "_control",
        "_credited",
        "_events",
        "_gone",
        "_last_id",
        "_limits",
        "_now_s",
        "_over",
        "_promised_id",
        "_resets",
        "role",
    )

    def __init__(self, role: Role, limits: Limits, budget: Budget) -> None:
        super().__init__()
        self.role = role
        self._limits = limits
        self._budget = budget
        self._now_s = 0.0  # of the last receive
        self._over = False
        self._events: list[Event] = []  # of the receive that is going on
        self._last_id = -1 if role is Role.CLIENT else 0  # the highest stream opened so far
        self._promised_id: int | None = None  # the last stream that our GOAWAY said we look at
        self._gone = GoneStreams()
        self._block_prefix = NO_DYNAMIC_TABLE
        self._control = Credits(limits.control_burst, limits.control_per_s)
        self._resets = Credits(limits.reset_burst, limits.reset_per_s)
        self._credited = 0  # of `work`

    def reset_stream(self, stream: Stream, code: int) -> None:
        """Sends RST_STREAM and forgets the stream; what still arrives for it is dropped."""
        if self._alive(stream):
            self.outgoing.append(frames.reset_frame(stream.id, code))
            self._forget(stream, Gone.RESET_BY_US)

    def _alive(self, stream: Stream) -> bool:
        return self.streams.get(stream.id) is stream and not self._over

    def _find(self, stream_id: int) -> Stream | None:
        """The stream that DATA or HEADERS are for; None if they are to be dropped: we reset it, and the peer may not know yet.

        Raises:
            ConnectionViolation, StreamViolation: nothing may come on it. Source: RFC 9113 section 5.1 (idle, closed).
        """
        stream = self._find_for_control(stream_id)
        if stream is not None:
            return stream
        how = self._gone.how(stream_id)
        if how is Gone.ENDED:
            raise ConnectionViolation(ErrorCode.STREAM_CLOSED, f"stream {stream_id} has ended")
        if how is not Gone.RESET_BY_US:
            raise StreamViolation(ErrorCode.STREAM_CLOSED, f"stream {stream_id} is gone")
        return None

    def _find_for_control(self, stream_id: int) -> Stream | None:
        """The stream that RST_STREAM or WINDOW_UPDATE are for; None if it is gone, which they may not know.

        Raises:
            ConnectionViolation: nobody opened it. Source: RFC 9113 section 5.1 (idle).
        """
        stream = self.streams.get(stream_id)
        if stream is None and (stream_id > self._last_id or stream_id % 2 == 0):
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} was not opened")
        return stream

    def _send_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        block, self._block_prefix = self._block_prefix + block, b""
        self.outgoing.append(frames.header_frames(stream_id, block, end_stream, self.max_send_frame_bytes))

    def _peer_ended(self, stream: Stream) -> None:
        stream.receiving = False
        stream.receive_window = NO_DATA
        self._events.append(Ended(stream))
        self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Forgets a stream that both sides have ended."""
        if not stream.sending and not stream.receiving:
            self._forget(stream, Gone.ENDED)

    def _forget(self, stream: Stream, how: Gone) -> None:
        del self.streams[stream.id]
        self._gone.add(stream.id, how)
        self._release(stream)

    def _release(self, stream: Stream) -> None:
        """Nothing can be sent or received on the stream any more; its share of the budget is free."""
        self._stop_sending(stream)
        stream.receiving = False
        stream.receive_window = NO_DATA
        self._budget.give_back(stream.window - self._limits.stream_window_bytes)
        stream.window = self._limits.stream_window_bytes

    def _charge(self, cost: int) -> None:
        """Counts a frame that is no work.

        Raises:
            ConnectionViolation: the peer sends too many of them.
        """
        earned, self._credited = (self.work - self._credited) * _CREDITS_PER_WORK, self.work
        if not self._control.spend(cost, earned, self._now_s):
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    def _charge_reset(self) -> None:
        """Counts a stream that came to nothing.

        Raises:
            ConnectionViolation: the peer opens too many of them.
        """
        if not self._resets.spend(1, 0, self._now_s):
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset")

    def _reject(self, stream_id: int, code: int, reason: str) -> None:
        """Resets a stream that never came to be."""
        self._charge_reset()
        self.outgoing.append(frames.reset_frame(stream_id, code))
        self._gone.add(stream_id, Gone.RESET_BY_US)
        self._events.append(Rejected(stream_id, reason))

    def _fail_stream(self, stream_id: int, violation: StreamViolation) -> None:
        """Resets a stream on which the peer broke the protocol, be it still there or not."""
        self._charge_reset()
        self.outgoing.append(frames.reset_frame(stream_id, violation.status))
        stream = self.streams.get(stream_id)
        if stream is None:
            self._gone.add(stream_id, Gone.RESET_BY_US)
            return
        self._forget(stream, Gone.RESET_BY_US)
        self._events.append(Reset(stream, violation.status))

    def _goaway(self, code: int, reason: str) -> None:
        """Queues GOAWAY; what it promises to look at never grows again. Source: RFC 9113 section 6.8."""
        if self._promised_id is None:
            self._promised_id = self._last_id if self.role is Role.SERVER else 0
        self.outgoing.append(frames.goaway_frame(self._promised_id, code, reason))

    def _end(self, code: int, reason: str) -> None:
        """Nothing more is received or sent; `streams` keeps what there was, for its owner to look at."""
        self._events.append(ConnectionFailed(code, reason))
        self._over = True
        for stream in self.streams.values():
            self._release(stream)
