"""One HTTP/2 connection that carries CONNECTs, as a state machine without I/O.

Source: RFC 9113. What it leaves out: server push, priorities, requests other than CONNECT (answered by 405).
"""

from collections.abc import Callable

from mesh.errors import LocalProtocolError
from ztunnel.hbone import frames
from ztunnel.hbone.codes import ConnectionViolation, ErrorCode, StreamViolation
from ztunnel.hbone.events import Data, Event, GoAway, Pong, Reset, Settled
from ztunnel.hbone.exchange import Exchange
from ztunnel.hbone.frames import HEADER_BYTES, Kind
from ztunnel.hbone.inbound import MEASURING
from ztunnel.hbone.lifecycle import Role
from ztunnel.hbone.limits import Budget, Limits
from ztunnel.hbone.memory import Gone
from ztunnel.hbone.settings import Setting, client_settings, parse_settings, server_settings
from ztunnel.hbone.stream import Stream

# RFC 9113 section 6.5.2 recommends not to allow fewer; what a client assumes until the server says.
_ASSUMED_STREAMS = 100

_unpack = frames.HEADER.unpack_from


class Connection(Exchange):
    """One end of a connection.

    Nothing here raises for what the peer does. Calls for a stream that is gone have no effect, so that the events of one `receive`
    may be handled in turn though handling one of them reset the stream of a later one.

    When the transport is gone, for whatever reason, `receive_eof` must be called: it returns memory to the budget.
    """

    __slots__ = ("_acknowledged", "_partial", "_peer_going", "_peer_streams", "_preface", "_settled")

    def __init__(self, role: Role, limits: Limits, budget: Budget) -> None:
        super().__init__(role, limits, budget)
        self._preface = frames.PREFACE if role is Role.SERVER else b""  # what is still to come of it
        self._settled = False  # the peer's first SETTINGS came
        self._acknowledged = False  # it has acknowledged ours
        self._peer_streams = _ASSUMED_STREAMS
        self._peer_going = False  # GOAWAY came
        self._partial = bytearray()  # of a frame that must be complete

    def start(self) -> None:
        """Queues the preface (client), SETTINGS and the connection's window. A client may open streams and send at once."""
        client = self.role is Role.CLIENT
        head = frames.PREFACE if client else b""
        head += frames.frame(Kind.SETTINGS, 0, 0, client_settings(self._limits) if client else server_settings(self._limits))
        more = self._limits.connection_window_bytes - frames.DEFAULT_WINDOW
        self.outgoing.append(head + frames.window_frame(0, more) if more > 0 else head)

    def can_open(self) -> bool:
        """Whether a client may open a stream: the peer's limit, nobody going away, ids left."""
        if self._over or self._peer_going or self._promised_id is not None or self.role is not Role.CLIENT:
            return False
        return len(self.streams) < self._peer_streams and self._last_id + 2 <= frames.MAX_ID

    def open_stream(self, block: bytes, owner: object) -> Stream:
        """Sends a CONNECT (client); DATA may follow before it is answered.

        Args:
            block: from connect_block and literal_field.
            owner: kept as the stream's `owner`.
        Raises:
            LocalProtocolError: not `can_open()`.
        """
        if not self.can_open():
            raise LocalProtocolError("no stream can be opened")
        self._last_id += 2
        stream = Stream(self._last_id, owner, self._first_window, self._limits.stream_window_bytes, self._now_s)
        self.streams[stream.id] = stream
        self._send_block(stream.id, block, end_stream=False)
        return stream

    def end_stream(self, stream: Stream) -> None:
        """Sends END_STREAM: no more DATA from us.

        Raises:
            LocalProtocolError: a server that has not answered.
        """
        if not self._alive(stream) or not stream.sending:
            return
        if self.role is Role.SERVER and not stream.status:
            raise LocalProtocolError(f"{stream} has no answer yet")
        self.outgoing.append(frames.frame(Kind.DATA, frames.END_STREAM, stream.id))
        self._stop_sending(stream)
        self._finish(stream)

    def ping(self, payload: bytes) -> None:
        """Sends PING; a Pong will come.

        Raises:
            LocalProtocolError: not 8 bytes, or those that the connection uses itself.
        """
        if len(payload) != 8 or payload == MEASURING:
            raise LocalProtocolError(f"not the payload of a PING: {payload!r}")
        if not self._over:
            self.outgoing.append(frames.frame(Kind.PING, 0, 0, payload))

    def go_away(self, code: int = ErrorCode.NO_ERROR) -> None:
        """Sends GOAWAY: streams that the peer opens from now on are not looked at, those that exist go on."""
        if not self._over:
            self._goaway(code, "")

    def receive(self, data: memoryview, now_s: float) -> list[Event]:
        """Takes what arrived.

        Args:
            data: bytes in any portion; Data events refer to it, nothing else does.
            now_s: of a clock that never goes back.
        Returns:
            what it means. Nothing after a ConnectionFailed.
        """
        if self._over:
            return []
        self._now_s = now_s
        events: list[Event] = []
        self._events = events
        try:
            self._parse(data, events)
            self._replenish()
            self._wake(events)
        except ConnectionViolation as violation:
            self._goaway(violation.status, violation.reason)
            self._end(violation.status, violation.reason)
        self._events = []
        return events

    def receive_eof(self) -> list[Event]:
        """The transport is gone, by whichever end's wish. May be called at any time, and again.

        Returns:
            a ConnectionFailed if that cut something off.
        """
        if self._over:
            return []
        events: list[Event] = []
        self._events = events
        if self.streams or self._rest or self._partial or self._block_stream or self._preface:
            self._end(ErrorCode.NO_ERROR, f"the transport ended with {len(self.streams)} streams open")
        self._over = True
        self._events = []
        return events

    def _parse(self, data: memoryview, events: list[Event]) -> None:
        """Frame by frame. The loop is the hot path: whole, plain DATA for a stream that may receive it is dealt with in place."""
        pos = self._resume(data)
        size, streams, longest = len(data), self.streams, self._limits.max_frame_bytes
        plain = self._is_plain(size - pos)
        received = 0
        while size - pos >= HEADER_BYTES:
            word, flags, stream_id = _unpack(data, pos)
            if plain and not flags and not word & 0xFF:
                length = word >> 8
                start = pos + HEADER_BYTES
                stop = start + length
                stream = streams.get(stream_id)
                if stream is not None and 0 < length <= stream.receive_window and stop <= size and length <= longest:
                    stream.receive_window -= length
                    received += length
                    self.work += 1
                    events.append(Data(stream, data[start:stop], length))
                    pos = stop
                    continue
            self._receive_window -= received
            received = 0
            after = self._take(data, pos)
            if after < 0:
                break
            pos = after
            plain = self._is_plain(size - pos)
        self._receive_window -= received
        if pos < size:
            self._partial += data[pos:]

    def _is_plain(self, size: int) -> bool:
        """Whether DATA may come next, and `size` bytes of it without a look at the connection's window."""
        return self._settled and not self._block_stream and size <= self._receive_window

    def _resume(self, data: memoryview) -> int:
        """Goes on with what the last portion ended in; returns how far into `data` that went."""
        if self._rest:
            return self._deliver(data, 0)
        if self._preface:
            return self._read_preface(data)
        if not self._partial:
            return 0
        pos = 0
        while (missing := frames.bytes_needed(self._partial) - len(self._partial)) > 0:
            piece = data[pos : pos + missing]
            self._partial += piece
            pos += len(piece)
            if len(self._partial) >= HEADER_BYTES:
                self._read_head(self._partial, 0)  # what cannot be is refused before all of it came
            if len(piece) < missing:
                return pos
        head, self._partial = memoryview(bytes(self._partial)), bytearray()
        self._take(head, 0)
        return self._deliver(data, pos)

    def _read_preface(self, data: memoryview) -> int:
        """Source: RFC 9113 section 3.4."""
        expected = self._preface[: len(data)]
        if data[: len(expected)] != expected:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "not HTTP/2")
        self._preface = self._preface[len(expected) :]
        return len(expected)

    def _take(self, data: memoryview, pos: int) -> int:
        """Deals with the frame at `pos`, of which the header is there; returns where it ends (or `data` does), -1 if more is needed."""
        length, kind, flags, stream_id = self._read_head(data, pos)
        start = pos + HEADER_BYTES
        if kind == frames.DATA:
            return self._take_data(data, start, length, flags, stream_id)
        handle = _HANDLERS.get(kind)
        if handle is None:  # section 4.1: ignore it, however long
            self._charge(1 + (length >> _UNKNOWN_SHIFT))
            self._begin(length, 0, None, ends=False)
            return self._deliver(data, start)
        stop = start + length
        if stop > len(data):
            return -1
        try:
            handle(self, flags, stream_id, bytes(data[start:stop]))
        except StreamViolation as violation:
            self._fail_stream(stream_id, violation)
        return stop

    def _read_head(self, data: memoryview | bytearray, pos: int) -> tuple[int, int, int, int]:
        """Length, kind, flags and stream of the frame at `pos`, which may come now."""
        word, flags, stream_id = _unpack(data, pos)
        length, kind, stream_id = word >> 8, word & 0xFF, stream_id & frames.MAX_ID
        frames.check_frame(kind, length, flags, stream_id, self._limits.max_frame_bytes)
        self._check_order(kind, flags, stream_id)
        return length, kind, flags, stream_id

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        """SETTINGS come first (section 3.4), and nothing comes between HEADERS and their CONTINUATION (section 6.10)."""
        if not self._settled and (kind != Kind.SETTINGS or flags & frames.ACK):
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block_stream:
            if kind != frames.CONTINUATION or stream_id != self._block_stream:
                raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "header block not continued")
        elif kind == frames.CONTINUATION:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._charge(1)

    def _on_push(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE though push is off")

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self._find_for_control(stream_id)
        if stream is None:
            self._charge(1)
            return
        if not stream.status and self.role is Role.SERVER:
            self._charge_reset()
        self._forget(stream, Gone.RESET_BY_PEER)
        self._events.append(Reset(stream, int.from_bytes(payload, "big")))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if self._acknowledged:
                raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "SETTINGS acknowledged twice")
            self._acknowledged = True
            return
        self._charge(1 + (len(payload) >> _SETTINGS_SHIFT))
        settings = parse_settings(payload, from_server=self.role is Role.CLIENT)
        if not self._settled:
            self._settled = True
            self._peer_streams = frames.MAX_ID  # unless it says otherwise
            self._events.append(Settled())
        self._peer_streams = settings.get(Setting.MAX_CONCURRENT_STREAMS, self._peer_streams)
        self.max_send_frame_bytes = settings.get(Setting.MAX_FRAME_SIZE, self.max_send_frame_bytes)
        if Setting.INITIAL_WINDOW_SIZE in settings:
            self._set_first_window(settings[Setting.INITIAL_WINDOW_SIZE])
        self.outgoing.append(frames.frame(Kind.SETTINGS, frames.ACK, 0))

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not flags & frames.ACK:
            self._charge(1)
            self.outgoing.append(frames.frame(Kind.PING, frames.ACK, 0, payload))
        elif payload != MEASURING or not self._round_trip.answered(self._now_s):
            self._charge(1)
            self._events.append(Pong(payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._charge(1)
        last, code, reason = frames.parse_goaway(payload)
        self._peer_going = True
        self._events.append(GoAway(last, code, reason))
        if self.role is Role.SERVER:  # it speaks of streams that we opened
            return
        for stream in [stream for stream in self.streams.values() if stream.id > last]:
            self._forget(stream, Gone.RESET_BY_PEER)
            self._events.append(Reset(stream, ErrorCode.REFUSED_STREAM))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._charge(1)
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
        if not stream_id:
            self._grant_connection(increment)
        elif (stream := self._find_for_control(stream_id)) is not None:
            self._grant_stream(stream, increment)


# What a long frame costs beyond its header: a credit for ten entries of SETTINGS, and for 16 KiB of an unknown frame.
_SETTINGS_SHIFT = 6
_UNKNOWN_SHIFT = 14

_HANDLERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    Kind.HEADERS: Connection._on_headers,
    Kind.PRIORITY: Connection._on_priority,
    Kind.RST_STREAM: Connection._on_reset,
    Kind.SETTINGS: Connection._on_settings,
    Kind.PUSH_PROMISE: Connection._on_push,
    Kind.PING: Connection._on_ping,
    Kind.GOAWAY: Connection._on_goaway,
    Kind.WINDOW_UPDATE: Connection._on_window_update,
    Kind.CONTINUATION: Connection._on_continuation,
}
