"""The receiving half of a connection: DATA as it comes, and the windows that we grant the peer."""

from ztunnel.hbone import frames
from ztunnel.hbone.codes import ConnectionViolation, ErrorCode, StreamViolation
from ztunnel.hbone.events import Data
from ztunnel.hbone.frames import Kind
from ztunnel.hbone.growth import RoundTrip, growth_bytes
from ztunnel.hbone.lifecycle import Lifecycle, Role
from ztunnel.hbone.limits import Budget, Limits
from ztunnel.hbone.stream import NO_DATA, Stream

# The PING by which we measure; whoever uses the connection sends others.
MEASURING = b"\x00hb-rtt\x00"


class Inbound(Lifecycle):
    """DATA and its flow control; see Connection for the whole.

    The connection's window is given back on receipt: a stalled stream must not stall the others. What memory the peer can make us
    hold is bounded by the windows of the streams, which are given back on consumption.
    """

    __slots__ = ("_receive_window", "_rest", "_rest_ends", "_rest_extra", "_rest_padding", "_rest_stream", "_round_trip")

    def __init__(self, role: Role, limits: Limits, budget: Budget) -> None:
        super().__init__(role, limits, budget)
        self._receive_window = limits.connection_window_bytes
        self._rest = 0  # bytes still to come of a frame that is handed on, or dropped, as it comes
        self._rest_padding = 0  # how many of these are padding
        self._rest_extra = 0  # padding not yet told in a Data
        self._rest_stream: Stream | None = None  # None: dropped
        self._rest_ends = False  # END_STREAM follows
        self._round_trip = RoundTrip()

    def consumed(self, stream: Stream, n: int) -> None:
        """Bytes of a stream were taken by the application: lets the peer send as many more, when that is worth a frame.

        Args:
            n: flow_bytes of Data.
        """
        if stream.receive_window == NO_DATA:
            return
        stream.unreturned += n
        if stream.unreturned << 1 >= stream.window:
            self._return_window(stream)

    def _return_window(self, stream: Stream) -> None:
        """Gives a stream's window back, and a larger one if that is what the sender waits for."""
        increment, stream.unreturned = stream.unreturned, 0
        stream.epoch_bytes += increment
        if stream.epoch_bytes >= stream.window:
            increment += self._grow(stream)
        stream.receive_window += increment
        self.outgoing.append(frames.window_frame(stream.id, increment))
        if self._round_trip.ask(self._now_s):
            self.outgoing.append(frames.frame(Kind.PING, 0, 0, MEASURING))

    def _grow(self, stream: Stream) -> int:
        """A whole window was consumed: begins another epoch, with a larger window if there was too little and the budget has it."""
        used_within_s = self._now_s - stream.epoch_s
        stream.epoch_bytes, stream.epoch_s = 0, self._now_s
        more = growth_bytes(stream.window, self._limits.max_stream_window_bytes, used_within_s, self._round_trip.estimate_s)
        if more <= 0 or not self._budget.take(more):
            return 0
        stream.window += more
        return more

    def _replenish(self) -> None:
        """Gives the connection's window back when half of it was used."""
        full = self._limits.connection_window_bytes
        used = full - self._receive_window
        if used << 1 >= full:
            self.outgoing.append(frames.window_frame(0, used))
            self._receive_window = full

    def _take_data(self, data: memoryview, start: int, length: int, flags: int, stream_id: int) -> int:
        """Begins a DATA frame whose payload starts at `start`, and hands on what is there of it; -1 if more is needed to begin."""
        pad_length = 0  # with the byte that tells it
        if flags & frames.PADDED:
            if start == len(data):
                return -1
            pad_length = data[start] + 1
            start += 1
        if pad_length > length:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "padding longer than DATA")
        self._receive_window -= length
        if self._receive_window < 0:
            raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        ends = bool(flags & frames.END_STREAM)
        stream = None
        try:
            stream = self._stream_for_data(stream_id, length)
        except StreamViolation as violation:
            self._fail_stream(stream_id, violation)
        self._begin(length, pad_length, stream, ends)
        if length > pad_length:
            self.work += 1 if stream is not None else 0
        elif not ends:
            self._charge(1)
        return self._deliver(data, start)

    def _begin(self, length: int, pad_length: int, stream: Stream | None, ends: bool) -> None:
        """A payload of so many bytes is handed on to `stream`, or dropped.

        Args:
            pad_length: how many of them are padding and the byte that tells it, which was read.
        """
        told = 1 if pad_length else 0
        self._rest, self._rest_padding, self._rest_extra = length - told, pad_length - told, pad_length
        self._rest_stream, self._rest_ends = stream, ends

    def _stream_for_data(self, stream_id: int, flow_bytes: int) -> Stream | None:
        """The stream that DATA is for, its window charged; None if it is to be dropped.

        Raises:
            ConnectionViolation, StreamViolation: it may not come. Source: RFC 9113 sections 5.1, 6.1, 6.9.1, 8.1.
        """
        stream = self._find(stream_id)
        if stream is None:
            return None
        if not stream.receiving:
            raise StreamViolation(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        if stream.receive_window == NO_DATA:
            raise StreamViolation(ErrorCode.PROTOCOL_ERROR, "DATA before the response")
        if flow_bytes > stream.receive_window:
            raise StreamViolation(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        stream.receive_window -= flow_bytes
        return stream

    def _deliver(self, data: memoryview, pos: int) -> int:
        """Hands on what is there of the frame in progress; returns where it ends, or `data` does."""
        there = min(self._rest, len(data) - pos)
        body = min(there, max(0, self._rest - self._rest_padding))
        self._rest -= there
        stream = self._rest_stream
        if stream is not None and self._alive(stream):
            if body:
                self._events.append(Data(stream, data[pos : pos + body], body + self._rest_extra))
                self._rest_extra = 0
            if not self._rest:
                self._complete(stream)
        if not self._rest:
            self._rest_stream = None
        return pos + there

    def _complete(self, stream: Stream) -> None:
        if self._rest_extra:
            self.consumed(stream, self._rest_extra)  # padding alone: nobody else will
        if self._rest_ends:
            self._peer_ended(stream)
