"""Connecting a socket from inside a pod's namespace: from the first SYN to success, refusal or the time limit."""

import socket
from collections.abc import Callable

from ztunnel.engine.interface import Cause, Endpoint
from ztunnel.engine.python import sockets
from ztunnel.engine.python.reactor import Reactor

# The ecosystem's connect timeout.
CONNECT_TIMEOUT_S = 10.0
# Sockets made at one visit to a namespace, at most: a visit costs as much as three sockets.
MAX_BATCH = 16
# Sockets that nobody wanted are closed after this.
SPARE_TIMEOUT_S = 2.0


class Stock:
    """Unconnected sockets of one namespace. The busier the pod, the more are made at once."""

    def __init__(self, reactor: Reactor, netns_fd: int) -> None:
        self._reactor = reactor
        self._netns_fd = netns_fd
        self._spare: dict[socket.AddressFamily, list[socket.socket]] = {socket.AF_INET: [], socket.AF_INET6: []}
        self._batch = 1
        self._bucket = 0

    def take(self, family: socket.AddressFamily) -> socket.socket:
        """Raises OSError when none can be made."""
        spare = self._spare[family]
        if not spare:
            spare += sockets.make(self._netns_fd, family, self._batch)
            self._batch = min(2 * self._batch, MAX_BATCH)
            self._reactor.deadlines.cancel(self._bucket, self)
            self._bucket = self._reactor.deadlines.set(SPARE_TIMEOUT_S, self)
        return spare.pop()

    def expire(self) -> None:
        """The pod has become quiet."""
        self._batch = 1
        for spare in self._spare.values():
            for sock in spare:
                sock.close()
            spare.clear()

    def close(self) -> None:
        self._reactor.deadlines.cancel(self._bucket, self)
        self.expire()


class Dial:
    """One attempt; exactly one of the two callbacks is called, perhaps before `start` returns, unless it is cancelled."""

    __slots__ = ("_bucket", "_next_hop", "_on_connected", "_on_failed", "_reactor", "_sock")

    def __init__(self, reactor: Reactor, on_connected: Callable[[socket.socket], None], on_failed: Callable[[Cause, str], None]) -> None:
        self._reactor = reactor
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._next_hop: Endpoint = ("", 0)
        self._sock: socket.socket | None = None
        self._bucket = 0

    def start(self, stock: Stock, next_hop: Endpoint, source: str) -> None:
        """Connects from inside the stock's namespace.

        Args:
            source: address to come from; "" for the namespace's own.
        """
        self._next_hop = next_hop
        ipv6 = ":" in next_hop[0]
        sock = None
        try:
            sock = stock.take(socket.AF_INET6 if ipv6 else socket.AF_INET)
            if source and (":" in source) == ipv6:
                sockets.bind_source(sock, source)
            # Within one machine the handshake is over when connect returns; asking again is cheaper than waiting for the event.
            connected = sockets.connect(sock, next_hop) or sockets.connect(sock, next_hop)
        except OSError as error:
            if sock is not None:
                sock.close()
            self._report(error)
            return
        if connected:
            self._on_connected(sock)
            return
        self._sock = sock
        self._bucket = self._reactor.deadlines.set(CONNECT_TIMEOUT_S, self)
        self._reactor.add_writer(sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            connected = sockets.connect(sock, self._next_hop)
        except OSError as error:
            self.cancel()
            self._report(error)
            return
        if connected:
            self._let_go()
            self._on_connected(sock)

    def _report(self, error: OSError) -> None:
        self._on_failed(sockets.dial_cause(error.errno or 0), f"connect: {error.strerror}")

    def expire(self) -> None:
        """The time is up."""
        self.cancel()
        self._on_failed(Cause.CONNECT_TIMEOUT, f"no answer within {CONNECT_TIMEOUT_S:g} s")

    def _let_go(self) -> None:
        if self._sock is not None:
            self._reactor.deadlines.cancel(self._bucket, self)
            self._reactor.remove_writer(self._sock.fileno())
            self._sock = None

    def cancel(self) -> None:
        """Gives up silently."""
        sock = self._sock
        self._let_go()
        if sock is not None:
            sock.close()
