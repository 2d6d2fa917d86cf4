"""A TLS connection over a non-blocking socket: plaintext in large pieces on one side, few large system calls on the other."""

import errno
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from ztunnel.engine.python.credentials import ALPN
from ztunnel.engine.python.farewell import Farewell
from ztunnel.engine.python.reactor import RECORD_BYTES, Reactor
from ztunnel.engine.python.sockets import Socket

# Sealed and opened in portions of this size: it stays in the cache, and bounds what OpenSSL's memory BIOs ever grow to.
PORTION_BYTES = 64 * 1024
# Relays stop when the socket takes no more, at a few reads of READ_BYTES. What still grows is what a peer makes us answer
# (SETTINGS, PING, CONNECT) without ever reading it.
MAX_BACKLOG_BYTES = 32 * 1024 * 1024


class ChannelOwner(Protocol):
    """Who uses a channel."""

    def on_secured(self) -> None:
        """The handshake is done."""

    def on_plaintext(self, data: memoryview) -> None:
        """Bytes of the peer; the view is valid during the call only."""

    def on_channel_closed(self, error: Exception | None) -> None:
        """The peer closed (None), or the connection or its TLS failed. Called once; the channel is closed already."""

    def on_congested(self) -> None:
        """The socket takes no more; whoever feeds the channel stops."""

    def on_drained(self) -> None:
        """The socket took everything; go on."""


class Channel:
    """One TLS connection; the socket belongs to it."""

    def __init__(self, reactor: Reactor, sock: Socket, context: ssl.SSLContext, owner: ChannelOwner, *, server_side: bool) -> None:
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._owner = owner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self.secured = False
        self.congested = False
        self.closed = False
        self._backlog: deque[memoryview] = deque()
        self._backlog_bytes = 0

    def start(self) -> None:
        """Begins the handshake on a connected socket."""
        self._reactor.add_reader(self._fd, self._on_readable)
        self._shake_hands()

    def write(self, frames: list[bytes]) -> None:
        """Sends all of `frames`; what the socket does not take is kept and `on_congested` is called."""
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        if len(data) <= PORTION_BYTES:
            self.tls.write(data)
            self._send([self._outgoing.read()])
        else:
            self.write_in_place(memoryview(data))

    def write_in_place(self, data: memoryview) -> None:
        """Like write, for one large piece that need not be copied first."""
        pieces = []
        for start in range(0, len(data), PORTION_BYTES):
            self.tls.write(data[start : start + PORTION_BYTES])
            pieces.append(self._outgoing.read())
        self._send(pieces)

    def _send(self, pieces: list[bytes]) -> None:
        if self._backlog:
            self._backlog.extend(map(memoryview, pieces))
            self._backlog_bytes += sum(map(len, pieces))
            if self._backlog_bytes > MAX_BACKLOG_BYTES:
                self._reactor.soon(self._fail, OSError(errno.ENOBUFS, "the peer does not read"))
            return
        try:
            sent = self._sock.send(pieces[0]) if len(pieces) == 1 else self._sock.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._reactor.soon(self._on_send_failed, error)
            return
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                self._backlog.append(memoryview(piece)[sent:])
                self._backlog_bytes += len(piece) - sent
                sent = 0
        if self._backlog:
            self.congested = True
            self._reactor.add_writer(self._fd, self._on_writable)
            self._owner.on_congested()

    def _on_writable(self) -> None:
        try:
            while self._backlog:
                piece = self._backlog[0]
                sent = self._sock.send(piece)
                self._backlog_bytes -= sent
                if sent < len(piece):
                    self._backlog[0] = piece[sent:]
                    return
                self._backlog.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._on_send_failed(error)
            return
        self.congested = False
        self._reactor.remove_writer(self._fd)
        self._owner.on_drained()

    def _on_send_failed(self, error: OSError) -> None:
        """The peer takes nothing any longer. What it said last, an alert or a GOAWAY, may tell why."""
        if not self.closed:
            self._on_readable()
        self._fail(error)

    def _shake_hands(self) -> bool:
        """One step of the handshake. True: it is done and the channel lives."""
        if self.closed:
            return False
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_handshake()
            return False
        except ssl.SSLError as error:
            self._send_handshake()
            self._fail(error)
            return False
        self._send_handshake()
        if self.tls.selected_alpn_protocol() != ALPN:
            self._fail(ssl.SSLError(f"the peer does not offer ALPN {ALPN}"))
            return False
        self.secured = True
        self._owner.on_secured()
        return not self.closed

    def _send_handshake(self) -> None:
        if self._outgoing.pending:
            self._send([self._outgoing.read()])

    def _on_readable(self) -> None:
        cipher = self._reactor.cipher_view
        try:
            count = self._sock.recv_into(cipher)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if count == 0:
            # Without close_notify the peer may have been cut off (RFC 8446 section 6.1); HTTP/2 knows which streams were open.
            self._fail(None if self.secured else ConnectionResetError(errno.ECONNRESET, "closed during the TLS handshake"))
            return
        try:
            self._open_records(cipher[:count])
        except ssl.SSLError as error:
            self._send_handshake()
            self._fail(error)

    def _open_records(self, cipher: memoryview) -> None:
        """Feeds what was read to TLS, portion by portion, and hands on the plaintext of all of it in as few pieces as fit."""
        plain, filled = self._reactor.plain_view, 0
        incoming = self._incoming
        # With a buffer, read returns how many bytes it wrote there; the type stubs know only the other form.
        read = cast("Callable[[int, memoryview], int]", self.tls.read)
        room = len(plain) - RECORD_BYTES
        for start in range(0, len(cipher), PORTION_BYTES):
            incoming.write(cipher[start : start + PORTION_BYTES])
            if not self.secured and not self._shake_hands():
                continue
            try:
                # A read takes one record. When TLS holds nothing more, asking again would only raise.
                while incoming.pending and not self.closed:
                    if filled > room:
                        self._owner.on_plaintext(plain[:filled])
                        filled = 0
                    count = read(RECORD_BYTES, plain[filled:])
                    if count == 0:
                        self._hand_on(plain, filled)
                        self._fail(None)
                        return
                    filled += count
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self._hand_on(plain, filled)
                self._fail(None)
                return
        self._send_handshake()
        self._hand_on(plain, filled)

    def _hand_on(self, plain: memoryview, filled: int) -> None:
        if filled and not self.closed:
            self._owner.on_plaintext(plain[:filled])

    def _fail(self, error: Exception | None) -> None:
        if not self.closed:
            self.close()
            self._owner.on_channel_closed(error)

    def close(self) -> None:
        """Says close_notify if it can be said at once, and closes the socket. The owner is not called."""
        if self.closed:
            return
        self.closed = True
        self._reactor.forget(self._fd)
        if self.secured and not self._backlog:
            self._say_goodbye()
        self._backlog.clear()
        self._sock.close()

    def finish(self) -> None:
        """Closes in order: the peer gets everything that was written, and close_notify. The owner is not called."""
        if self.closed or not self.secured:
            self.close()
            return
        self.closed = True
        self._reactor.remove_reader(self._fd)
        self._reactor.remove_writer(self._fd)
        try:
            self.tls.unwrap()
        except (ssl.SSLError, OSError):
            pass
        self._backlog.append(memoryview(self._outgoing.read()))
        Farewell(self._reactor, self._sock, self._backlog)

    def _say_goodbye(self) -> None:
        try:
            self.tls.unwrap()
        except (ssl.SSLError, OSError):
            pass
        try:
            if self._outgoing.pending:
                self._sock.send(self._outgoing.read())
        except OSError:
            pass
