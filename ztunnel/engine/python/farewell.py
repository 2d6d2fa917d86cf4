"""The last of a connection that ends in order: its peer gets everything that was written, however slowly it reads."""

import socket
from collections import deque

from ztunnel.engine.python import sockets
from ztunnel.engine.python.reactor import Reactor
from ztunnel.engine.python.sockets import Socket

# A peer that neither closes nor takes anything for so long gets no more.
PATIENCE_S = 5.0


class Farewell:
    """Owns a socket to its end. To close at once would answer whatever the peer still says with a reset, which costs what it has not read.

    Args:
        unsent: what the kernel has not taken yet.
    Source: RFC 9112 section 9.6 (the same, for HTTP/1.1 servers).
    """

    def __init__(self, reactor: Reactor, sock: Socket, unsent: deque[memoryview]) -> None:
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._unsent = unsent
        self._left_bytes = self._left()
        self._bucket = reactor.deadlines.set(PATIENCE_S, self)
        reactor.farewells.add(self)
        reactor.add_reader(self._fd, self._on_readable)
        reactor.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        try:
            while self._unsent:
                piece = self._unsent[0]
                sent = self._sock.send(piece)
                if sent < len(piece):
                    self._unsent[0] = piece[sent:]
                    return
                self._unsent.popleft()
            self._reactor.remove_writer(self._fd)
            self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _on_readable(self) -> None:
        """What the peer says is of no use any more; its end is what we wait for."""
        try:
            if self._sock.recv_into(self._reactor.cipher_view):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def _left(self) -> int:
        return sum(map(len, self._unsent)) + sockets.unacknowledged_bytes(self._sock)

    def expire(self) -> None:
        """Goes on with a peer that is slow, gives up on one that takes nothing."""
        left_bytes = self._left()
        if left_bytes >= self._left_bytes:
            self.close()
            return
        self._left_bytes = left_bytes
        self._bucket = self._reactor.deadlines.set(PATIENCE_S, self)

    def close(self) -> None:
        """Ends it now."""
        self._reactor.farewells.discard(self)
        self._reactor.deadlines.cancel(self._bucket, self)
        self._reactor.forget(self._fd)
        self._sock.close()
