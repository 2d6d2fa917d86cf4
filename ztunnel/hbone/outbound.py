"""The sending half of a connection: frames to be written, what the peer lets us send, and who may send next."""

from mesh.errors import LocalProtocolError
from ztunnel.hbone.codes import ConnectionViolation, ErrorCode, StreamViolation
from ztunnel.hbone.events import Event, Writable
from ztunnel.hbone.frames import DEFAULT_FRAME_BYTES, DEFAULT_WINDOW, HEADER, MAX_WINDOW
from ztunnel.hbone.stream import NO_DATA, Stream

# Up to here payload and header are joined: copying costs less than another item in every list that it passes through.
# Not above DEFAULT_FRAME_BYTES, so that it always is one frame.
_JOIN_BYTES = 4096

# A DATA frame counts as one piece of work, and as one more for so many bytes: peers that read in small pieces
# send a WINDOW_UPDATE for each.
_WORK_SHIFT = 12

_pack = HEADER.pack


class Outbound:
    """What the peer has granted, and the frames that use it.

    Args:
        outgoing: what must be written, in order; whoever writes takes the list and leaves an empty one.
        streams: by id; all that either side has not finished with.
        send_window: of the connection.
        max_send_frame_bytes: the peer's SETTINGS_MAX_FRAME_SIZE.
        work: counts DATA, in both directions.
    """

    __slots__ = (
        "_blocked",
        "_first_window",
        "_opened",
        "_passed_over",
        "max_send_frame_bytes",
        "outgoing",
        "send_window",
        "streams",
        "work",
    )

    def __init__(self) -> None:
        self.outgoing: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.send_window = DEFAULT_WINDOW
        self.max_send_frame_bytes = DEFAULT_FRAME_BYTES
        self.work = 0
        self._first_window = DEFAULT_WINDOW  # the peer's SETTINGS_INITIAL_WINDOW_SIZE
        self._opened = False  # a window grew since _wake
        # Both in the order in which they are to be woken; those that were woken and found nothing left come first.
        self._passed_over: dict[Stream, None] = {}
        self._blocked: dict[Stream, None] = {}

    def sendable(self, stream: Stream) -> int:
        """How many bytes may be sent now on a stream; 0 when it is gone."""
        window = stream.send_window if stream.send_window < self.send_window else self.send_window
        return window if window > 0 else 0

    def send_data(self, stream: Stream, data: bytes) -> None:
        """Sends bytes, in frames that the peer accepts. Nothing at all for no bytes.

        Args:
            data: at most `sendable`. A server must have answered.
        Raises:
            LocalProtocolError: more than `sendable`.
        """
        size = len(data)
        if size > stream.send_window or size > self.send_window:
            raise LocalProtocolError(f"{size} bytes do not fit into the window of {stream}")
        stream.send_window -= size
        self.send_window -= size
        if size > _JOIN_BYTES:
            self._send_large(stream.id, data)
        elif size:
            self.work += 1
            self.outgoing.append(_pack(size << 8, 0, stream.id) + data)

    def _send_large(self, stream_id: int, data: bytes) -> None:
        size, most = len(data), self.max_send_frame_bytes
        self.work += 1 + (size >> _WORK_SHIFT)
        if size <= most:
            self.outgoing += (_pack(size << 8, 0, stream_id), data)
            return
        for at in range(0, size, most):
            piece = data[at : at + most]
            self.outgoing += (_pack(len(piece) << 8, 0, stream_id), piece)

    def data_header(self, stream: Stream, length: int) -> bytes | None:
        """Accounts for `length` bytes of DATA that the caller writes itself, right behind the header that is returned.

        Returns:
            None, and nothing is accounted, when one frame cannot hold them: use send_data.
        Raises:
            LocalProtocolError: more than `sendable`.
        """
        if length > self.max_send_frame_bytes:
            return None
        if length > stream.send_window or length > self.send_window:
            raise LocalProtocolError(f"{length} bytes do not fit into the window of {stream}")
        stream.send_window -= length
        self.send_window -= length
        self.work += 1 + (length >> _WORK_SHIFT)
        return _pack(length << 8, 0, stream.id)

    def block(self, stream: Stream) -> None:
        """Asks for a Writable once `sendable(stream)` is no longer 0. Without effect when the stream is gone.

        Whoever was woken and got nothing, because others were first, keeps its place before those that did.
        Raises:
            LocalProtocolError: it may send now.
        """
        if not stream.sending or stream in self._passed_over:
            return
        if self.sendable(stream):
            raise LocalProtocolError(f"{stream} is not blocked")
        if stream.woken_window == stream.send_window:
            self._passed_over[stream] = None
        else:
            self._blocked[stream] = None

    def _wake(self, events: list[Event]) -> None:
        """Reports blocked streams that may send, if a window has grown."""
        if not self._opened:
            return
        self._opened = False
        if self.send_window <= 0:
            return
        for queue in (self._passed_over, self._blocked):
            for stream in [stream for stream in queue if stream.send_window > 0]:
                del queue[stream]
                stream.woken_window = stream.send_window
                events.append(Writable(stream))

    def _stop_sending(self, stream: Stream) -> None:
        stream.sending = False
        stream.send_window = 0
        stream.woken_window = NO_DATA
        self._passed_over.pop(stream, None)
        self._blocked.pop(stream, None)

    def _grant_connection(self, increment: int) -> None:
        """A WINDOW_UPDATE of the connection. Source: RFC 9113 section 6.9."""
        if not increment or self.send_window + increment > MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise ConnectionViolation(code, f"WINDOW_UPDATE by {increment}")
        self.send_window += increment
        self._opened = True

    def _grant_stream(self, stream: Stream, increment: int) -> None:
        """A WINDOW_UPDATE of a stream; allowed and without meaning when we have ended our half."""
        if not increment or stream.send_window + increment > MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise StreamViolation(code, f"WINDOW_UPDATE by {increment}")
        if stream.sending:
            stream.send_window += increment
            self._opened = True

    def _set_first_window(self, window: int) -> None:
        """The peer's SETTINGS_INITIAL_WINDOW_SIZE: shifts the window of every stream, below 0 if need be. Source: section 6.9.2."""
        shift, self._first_window = window - self._first_window, window
        for stream in self.streams.values():
            if not stream.sending:
                continue
            if stream.send_window + shift > MAX_WINDOW:
                raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE overflows {stream}")
            stream.send_window += shift
        self._opened = True
