"""Connecting a socket from inside a pod's namespace: from the first SYN to success, refusal or the time limit."""

import errno
import random
import socket
from collections.abc import Callable

from ztunnel.engine.interface import Cause, Endpoint
from ztunnel.engine.python import sockets
from ztunnel.engine.python.reactor import Reactor
from ztunnel.engine.python.sockets import Socket

# The ecosystem's connect timeout.
CONNECT_TIMEOUT_S = 10.0
# Sockets made at one visit to a namespace, at most: a visit costs as much as three sockets.
MAX_BATCH = 16
# Connections that keep their client's address come from these ports: below the range that Linux gives to clients (32768 to 60999), so
# that none has the port of a connection that the same client has open to the same application.
FIRST_SOURCE_PORT, SOURCE_PORTS = 10_000, 20_000
# Ports tried for one connection when those before are still in use towards its destination.
MAX_PORT_ATTEMPTS = 16
# Sockets that nobody wanted are closed after this.
SPARE_TIMEOUT_S = 2.0


class Stock:
    """Unconnected sockets of one namespace. The busier the pod, the more are made at once."""

    def __init__(self, reactor: Reactor, netns_fd: int) -> None:
        self._reactor = reactor
        self._netns_fd = netns_fd
        self._spare: dict[socket.AddressFamily, list[Socket]] = {socket.AF_INET: [], socket.AF_INET6: []}
        self._batch = 1
        self._bucket = 0
        # Not the same after a restart, when the kernel remembers the connections before it.
        self._port = random.randrange(SOURCE_PORTS)

    def source_port(self) -> int:
        """The next port to come from, when a client's address is kept."""
        self._port = (self._port + 1) % SOURCE_PORTS
        return FIRST_SOURCE_PORT + self._port

    def take(self, family: socket.AddressFamily) -> Socket:
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

    def __init__(self, reactor: Reactor, on_connected: Callable[[Socket], None], on_failed: Callable[[Cause, str], None]) -> None:
        self._reactor = reactor
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._next_hop: Endpoint = ("", 0)
        self._sock: Socket | None = None
        self._bucket = 0

    def start(self, stock: Stock, next_hop: Endpoint, source: str, *, far: bool) -> None:
        """Connects from inside the stock's namespace.

        Args:
            source: address to come from; "" for the namespace's own.
            far: the other end may be another machine.
        """
        self._next_hop = next_hop
        keep_source = bool(source) and (":" in source) == (":" in next_hop[0])
        try:
            sock, connected = _connect_from(stock, next_hop, source) if keep_source else _connect(stock.take(_family(next_hop)), next_hop)
            if far:
                sockets.keep_alive(sock)
        except OSError as error:
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


def _family(next_hop: Endpoint) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in next_hop[0] else socket.AF_INET


def _connect_from(stock: Stock, next_hop: Endpoint, source: str) -> tuple[Socket, bool]:
    """Like _connect, from a client's address and a port that no connection to that destination has."""
    for attempt in range(1, MAX_PORT_ATTEMPTS + 1):
        sock = stock.take(_family(next_hop))
        try:
            sockets.bind_source(sock, source, stock.source_port())
            return _connect(sock, next_hop)
        except OSError as error:
            sock.close()
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) or attempt == MAX_PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _connect(sock: Socket, next_hop: Endpoint) -> tuple[Socket, bool]:
    """Begins to connect. Within one machine the handshake is over when connect returns; asking again is cheaper than an event.

    Raises:
        OSError: refused; the socket is closed.
    """
    try:
        return sock, sockets.connect(sock, next_hop) or sockets.connect(sock, next_hop)
    except OSError:
        sock.close()
        raise
