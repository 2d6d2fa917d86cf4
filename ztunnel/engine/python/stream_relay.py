"""A connection with a socket on one side and a stream of a tunnel on the other; the hot path of the engine."""

import socket
from collections import deque
from typing import TYPE_CHECKING

from ztunnel.engine.interface import Cause
from ztunnel.engine.python import sockets
from ztunnel.engine.python.ledger import Relayed
from ztunnel.engine.python.reactor import READ_BYTES
from ztunnel.engine.python.sockets import Socket
from ztunnel.hbone import ErrorCode, Stream
from ztunnel.hbone.frames import DEFAULT_WINDOW

if TYPE_CHECKING:
    from ztunnel.engine.python.core import Core
    from ztunnel.engine.python.tunnel import Tunnel

# From here on a read is sealed where it lies; below, copying it next to other streams' frames costs less than a TLS record.
BULK_BYTES = 16 * 1024


class StreamRelay(Relayed):
    """Moves bytes between a socket of a pod and a stream; half-closes and resets go through in both directions."""

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_core",
        "_fd",
        "_finished_sending",
        "_reading",
        "_window_closed",
        "early",
        "sock",
        "socket_ended",
        "stream",
        "stream_ended",
        "tunnel",
    )

    # What a reset from either side means; the outbound end and the inbound end see the client on different sides.
    socket_reset: Cause
    stream_reset: Cause

    def __init__(self, core: "Core", source: str, peer: str, started_s: float) -> None:
        super().__init__(source, peer, started_s)
        self._core = core
        self.sock: Socket | None = None
        self._fd = -1
        self.tunnel: Tunnel
        self.stream: Stream | None = None
        # Made when it is needed: an empty one takes 600 bytes.
        self._backlog: deque[memoryview] | None = None
        self._backlog_bytes = 0
        self._reading = False
        self._window_closed = False
        self.socket_ended = False
        self._finished_sending = False
        self.stream_ended = False
        # What was sent so far, while it may have to be sent again; None: it need not be kept.
        self.early: list[bytes] | None = None

    def keep_early(self, data: bytes) -> None:
        """Adds to `early`, or gives it up: a peer that never answers must not make us keep what it lets us send."""
        if self.early is not None and self.sent_bytes <= DEFAULT_WINDOW:
            self.early.append(data)
        else:
            self.early = None

    def count(self, from_socket: int, from_stream: int) -> None:
        """Adds to sent_bytes and received_bytes, as seen from the client."""
        raise NotImplementedError

    # socket -> stream

    def attach(self, sock: Socket) -> None:
        """The socket is connected: move bytes from now on."""
        self.sock = sock
        self._fd = sock.fileno()
        if self._backlog:
            self._core.reactor.add_writer(self._fd, self._on_writable)
        elif self.stream_ended:
            self._finish_sending()
        self.update_reading()

    def update_reading(self) -> None:
        """Reads the socket exactly while there is room for what comes."""
        wanted = not (self.socket_ended or self._window_closed or self.over or self.stream is None or self.tunnel.congested)
        if self.sock is not None and wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._core.reactor.add_reader(self._fd, self._on_readable)
            else:
                self._core.reactor.remove_reader(self._fd)

    def _on_readable(self) -> None:
        if self._read() and self._core.reactor.ending:
            # The end is there already: it leaves together with the last bytes.
            self._read()

    def _read(self) -> bool:
        """Takes one portion from the socket. True: it was bytes."""
        tunnel, stream, sock = self.tunnel, self.stream, self.sock
        if stream is None or sock is None or tunnel.full:
            return False
        connection = tunnel.http2
        room = connection.sendable(stream)
        if room <= 0:
            self._window_closed = True
            connection.block(stream)
            self.update_reading()
            return False
        payload = self._core.reactor.payload_view
        try:
            count = sock.recv_into(payload, room if room < READ_BYTES else READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self._on_socket_error(error)
            return False
        if count == 0:
            self._on_socket_ended(stream)
            return False
        self.count(count, 0)
        if self.early is not None:
            self.keep_early(bytes(payload[:count]))
        if count < BULK_BYTES or not tunnel.send_in_place(stream, count):
            connection.send_data(stream, bytes(payload[:count]))
            tunnel.queued(count)
        return True

    def _on_socket_ended(self, stream: Stream) -> None:
        self.socket_ended = True
        self.tunnel.http2.end_stream(stream)
        self.tunnel.queued(0)
        self._finish_if_done()
        self.update_reading()

    def _on_socket_error(self, error: OSError) -> None:
        self.end(self.socket_reset, error.strerror or str(error), reset_stream=ErrorCode.CONNECT_ERROR)

    def on_window(self) -> None:
        """The stream may send again."""
        self._window_closed = False
        self.update_reading()

    # stream -> socket

    def on_data(self, data: memoryview, flow_bytes: int, flags: int) -> None:
        """Payload from the tunnel; the view is valid during the call only. Taken bytes are given back to the peer's window.

        Args:
            flags: of send(2).
        """
        size = len(data)
        self.count(0, size)
        sent = 0
        if not self._backlog and self.sock is not None:
            try:
                sent = self.sock.send(data, flags)
            except BlockingIOError:
                pass
            except OSError as error:
                self._on_socket_error(error)
                return
        if sent == size:
            if self.stream is not None:
                self.tunnel.http2.consumed(self.stream, flow_bytes)
                if self.tunnel.http2.outgoing:
                    self.tunnel.queued(0)
            return
        self._keep(data[sent:])
        self._consumed(flow_bytes - (size - sent))

    def _keep(self, rest: memoryview) -> None:
        if not self._backlog and self.sock is not None:
            self._core.reactor.add_writer(self._fd, self._on_writable)
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(memoryview(bytes(rest)))
        self._backlog_bytes += len(rest)
        self._core.buffered_bytes += len(rest)

    def _consumed(self, count: int) -> None:
        if self.stream is not None and count:
            self.tunnel.http2.consumed(self.stream, count)
            self.tunnel.queued(0)

    def _on_writable(self) -> None:
        if self.sock is None:
            return
        sent_bytes = 0
        try:
            while self._backlog:
                chunk = self._backlog[0]
                sent = self.sock.send(chunk)
                sent_bytes += sent
                if sent < len(chunk):
                    self._backlog[0] = chunk[sent:]
                    break
                self._backlog.popleft()
        except BlockingIOError:
            pass
        except OSError as error:
            self._on_socket_error(error)
            return
        self._backlog_bytes -= sent_bytes
        self._core.buffered_bytes -= sent_bytes
        self._consumed(sent_bytes)
        if not self._backlog:
            self._core.reactor.remove_writer(self._fd)
            if self.stream_ended:
                self._finish_sending()

    def on_stream_ended(self) -> None:
        """The peer sends no more: half-close towards the socket when all is written."""
        self.stream_ended = True
        if not self._backlog and self.sock is not None:
            self._finish_sending()

    def _finish_sending(self) -> None:
        self._finished_sending = True
        if self.socket_ended:
            self._finish_if_done()
            return
        try:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._on_socket_error(error)

    def on_stream_reset(self, code: int) -> None:
        """The peer reset the stream: so does the socket. A peer that had said all before it only wants no more."""
        self.stream = None
        if code == ErrorCode.NO_ERROR and self.stream_ended and self.sock is not None:
            self._deliver_the_rest()
            return
        self.end(self.stream_reset, f"stream reset by the peer with {ErrorCode.name_of(code)}")

    def _deliver_the_rest(self) -> None:
        """What was received may not be lost (RFC 9113 section 8.1): the socket is written to the end, then it ends as it likes."""
        self.update_reading()
        if not self.socket_ended:
            self._core.reactor.add_reader(self._fd, self._on_unwanted)

    def _on_unwanted(self) -> None:
        """Bytes for a peer that has closed: as TCP would, answer with a reset, but not before what was received is delivered."""
        if self.sock is None:
            return
        try:
            count = self.sock.recv_into(self._core.reactor.payload_view)
            undelivered = bool(self._backlog) or sockets.unacknowledged_bytes(self.sock) > 0
        except BlockingIOError:
            return
        except OSError as error:
            self._on_socket_error(error)
            return
        if count == 0:
            self.socket_ended = True
            self._core.reactor.remove_reader(self._fd)
            self._finish_if_done()
        elif not undelivered:
            self.end(self.stream_reset, "the peer takes no more")

    # the end

    def _finish_if_done(self) -> None:
        if self.socket_ended and self._finished_sending:
            self.end(Cause.NONE, "", abort=False)

    def end(self, cause: Cause, detail: str, *, abort: bool = True, reset_stream: int = ErrorCode.CANCEL) -> None:
        """Ends both sides now.

        Args:
            abort: the socket's other end gets a reset, the stream RST_STREAM with `reset_stream`.
        """
        if self.over:
            return
        stream, self.stream = self.stream, None
        if stream is not None:
            self.tunnel.release(stream, reset_stream if abort else None)
        self._close_socket(abort=abort)
        self._core.buffered_bytes -= self._backlog_bytes
        self._backlog = None
        self._backlog_bytes = 0
        self._core.close_relay(self, cause, detail)

    def _close_socket(self, *, abort: bool) -> None:
        if self.sock is None:
            return
        self._core.reactor.forget(self._fd)
        self._reading = False
        if abort:
            sockets.abort(self.sock)
        else:
            self.sock.close()
        self.sock = None
