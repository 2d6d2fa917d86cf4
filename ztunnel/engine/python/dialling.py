"""Connecting a socket: from the first SYN to success, refusal or the time limit."""

import os
import socket
from collections.abc import Callable

from ztunnel.engine.interface import Cause, Endpoint
from ztunnel.engine.python import sockets
from ztunnel.engine.python.reactor import Reactor

# The ecosystem's connect timeout.
CONNECT_TIMEOUT_S = 10.0


class Dial:
    """One attempt; exactly one of the two callbacks is called, later than `start`, unless it is cancelled."""

    __slots__ = ("_bucket", "_on_connected", "_on_failed", "_reactor", "_sock")

    def __init__(self, reactor: Reactor, on_connected: Callable[[socket.socket], None], on_failed: Callable[[Cause, str], None]) -> None:
        self._reactor = reactor
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._sock: socket.socket | None = None
        self._bucket = 0

    def start(self, netns_fd: int, next_hop: Endpoint, source_address: str) -> None:
        try:
            self._sock = sockets.dial(netns_fd, next_hop, source_address)
        except OSError as error:
            self._reactor.soon(self._on_failed, sockets.dial_cause(error.errno or 0), f"connect: {error.strerror}")
            return
        self._bucket = self._reactor.deadlines.set(CONNECT_TIMEOUT_S, self)
        self._reactor.add_writer(self._sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        error = sockets.dial_error(sock)
        if error:
            self.cancel()
            self._on_failed(sockets.dial_cause(error), f"connect: {os.strerror(error)}")
            return
        self._let_go()
        self._on_connected(sock)

    def expire(self) -> None:
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
