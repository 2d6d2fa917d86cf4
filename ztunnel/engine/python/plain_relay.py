"""A connection with a socket on both sides: passed through, delivered to the application, or between two pods of this node."""

import socket
from typing import TYPE_CHECKING

from ztunnel.engine.interface import Cause, Endpoint
from ztunnel.engine.python import sockets
from ztunnel.engine.python.dialling import Dial, Stock
from ztunnel.engine.python.ledger import Relayed
from ztunnel.engine.python.sockets import Socket

if TYPE_CHECKING:
    from ztunnel.engine.python.core import Core


class _End:
    """One socket of the two: reads it while the other takes what was read."""

    __slots__ = ("_core", "_fd", "_pending", "_reading", "_relay", "finished", "other", "sock")

    def __init__(self, core: "Core", relay: "PlainRelay", sock: Socket) -> None:
        self._core = core
        self._relay = relay
        self.sock = sock
        self._fd = sock.fileno()
        self.other: _End
        self._pending: memoryview | None = None
        self._reading = False
        # Nothing more comes from this socket.
        self.finished = False

    def start(self) -> None:
        self._reading = True
        self._core.reactor.add_reader(self._fd, self._on_readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._core.reactor.remove_reader(self._fd)

    def _on_readable(self) -> None:
        buffer = self._core.reactor.payload_view
        try:
            count = self.sock.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._relay.on_reset(self, error)
            return
        if count == 0:
            self.finished = True
            self._pause()
            self.other.finish_sending()
            return
        self._relay.count(self, count)
        self.other.take(buffer[:count])

    def take(self, data: memoryview) -> None:
        """Writes data; what does not fit is kept and the other end waits."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._relay.on_reset(self, error)
            return
        if sent < len(data):
            self._pending = memoryview(bytes(data[sent:]))
            self._core.buffered_bytes += len(self._pending)
            self.other._pause()
            self._core.reactor.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        if self._pending is None:
            return
        try:
            sent = self.sock.send(self._pending)
        except BlockingIOError:
            return
        except OSError as error:
            self._relay.on_reset(self, error)
            return
        self._core.buffered_bytes -= sent
        if sent < len(self._pending):
            self._pending = self._pending[sent:]
            return
        self._pending = None
        self._core.reactor.remove_writer(self._fd)
        # The other end was reading when this one got stuck, so its end of file is still to come.
        self.other.start()

    def finish_sending(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._relay.on_reset(self, error)
            return
        self._relay.finish_if_done()

    def close(self, *, abort: bool) -> None:
        if self._pending is not None:
            self._core.buffered_bytes -= len(self._pending)
            self._pending = None
        self._core.reactor.forget(self._fd)
        if abort:
            sockets.abort(self.sock)
        else:
            self.sock.close()


class PlainRelay(Relayed):
    """Dials the next hop, then moves bytes both ways."""

    __slots__ = ("_accepted", "_client", "_core", "_dial", "_server")

    def __init__(self, core: "Core", accepted: Socket, source: str, started_s: float) -> None:
        super().__init__(source, "", started_s)
        self._core = core
        self._accepted: Socket | None = accepted
        self._dial: Dial | None = None
        self._client: _End | None = None
        self._server: _End | None = None

    def dial(self, stock: Stock, next_hop: Endpoint, source_address: str, *, far: bool) -> None:
        """Connects from inside the stock's namespace, as `source_address` unless it is "". Far: perhaps to another machine."""
        self._dial = Dial(self._core.reactor, self._on_connected, self._on_dial_failed)
        self._dial.start(stock, next_hop, source_address, far=far)

    def _on_connected(self, sock: Socket) -> None:
        self._dial = None
        if self._accepted is None:
            sock.close()
            return
        self._client = _End(self._core, self, self._accepted)
        self._server = _End(self._core, self, sock)
        self._accepted = None
        self._client.other, self._server.other = self._server, self._client
        self._core.ledger.opened(self)
        self._client.start()
        self._server.start()

    def _on_dial_failed(self, cause: Cause, detail: str) -> None:
        self._dial = None
        self.end(cause, detail)

    def count(self, end: _End, size: int) -> None:
        if end is self._client:
            self.sent_bytes += size
        else:
            self.received_bytes += size

    def on_reset(self, end: _End, error: OSError) -> None:
        self.end(Cause.CLIENT_RESET if end is self._client else Cause.SERVER_RESET, error.strerror or str(error))

    def finish_if_done(self) -> None:
        if self._client is not None and self._server is not None and self._client.finished and self._server.finished:
            self.end(Cause.NONE, "", abort=False)

    def end(self, cause: Cause, detail: str, *, abort: bool = True) -> None:
        """Ends both sides now; `abort`: with resets."""
        if self.over:
            return
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._accepted is not None:
            sockets.abort(self._accepted)
            self._accepted = None
        for end in (self._client, self._server):
            if end is not None:
                end.close(abort=abort)
        self._core.close_relay(self, cause, detail)
