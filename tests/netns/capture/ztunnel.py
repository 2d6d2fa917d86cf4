"""What capture needs of a ztunnel, and no more: three listeners in the pod's namespace, and plain relays to the original destination."""

import asyncio
import contextlib
import errno
import random
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Self

from tests.netns.capture.ground import IP_TRANSPARENT, IPV6_TRANSPARENT, MARK, SO_MARK, Namespace

SO_ORIGINAL_DST = 80
IP6T_SO_ORIGINAL_DST = 80
_CHUNK = 65536
HBONE = 15008


@dataclass(frozen=True, slots=True)
class Taken:
    """One connection that came to a listener: (address, port) of the client, and what it asked for."""

    listener: int
    source: tuple[str, int]
    destination: tuple[str, int]


class Ztunnel:
    """Listens as docs/runtime.md says; relays on an event loop in a thread of its own. A context manager."""

    def __init__(self, pod: Namespace) -> None:
        self._pod = pod
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []
        self._arrived = threading.Condition()
        self.taken: list[Taken] = []
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ensure_listening(self) -> None:
        """Opens the listeners, unless they are open."""
        if not self._listeners:
            self.listen()

    def listen(self) -> None:
        """Opens the three listeners."""
        self._listeners = [self._pod.run(lambda port=port: _listener(port)) for port in (15001, 15006, 15008)]
        for listener in self._listeners:
            asyncio.run_coroutine_threadsafe(self._spawn(self._accept(listener)), self._loop).result(10)

    def close_listeners(self) -> None:
        """As a ztunnel that died would: no listener is left."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def wait_taken(self, count: int) -> list[Taken]:
        """Waits until so many connections came."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.taken) >= count, 5), self.taken
            return list(self.taken)

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    async def _spawn(self, coroutine) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        while True:
            connection, source = await self._loop.sock_accept(listener)
            connection.setblocking(False)
            taken = Taken(port, _plain(source), _original_destination(connection))
            with self._arrived:
                self.taken.append(taken)
                self._arrived.notify_all()
            await self._spawn(self._relay(connection, taken))

    async def _relay(self, connection: socket.socket, taken: Taken) -> None:
        with connection:
            if taken.listener == HBONE:
                await self._loop.sock_recv(connection, _CHUNK)  # until its end: there is no tunnel to speak
                return
            family = socket.AF_INET6 if ":" in taken.destination[0] else socket.AF_INET
            upstream = await asyncio.to_thread(self._pod.run, lambda: _dialler(family, taken))
            with upstream:
                try:
                    await self._loop.sock_connect(upstream, taken.destination)
                    await asyncio.gather(self._copy(connection, upstream), self._copy(upstream, connection))
                except OSError as error:
                    self.errors.append(f"{taken}: {error}")
                    with contextlib.suppress(OSError):
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        while data := await self._loop.sock_recv(source, _CHUNK):
            await self._loop.sock_sendall(target, data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _listener(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    sock.bind(("::", port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def _dialler(family: socket.AddressFamily, taken: Taken) -> socket.socket:
    """From the pod, marked; towards the application, from the client's address."""
    sock = socket.socket(family)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
    if taken.listener != 15001:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        _bind_low(sock, taken.source[0])
    return sock


def _bind_low(sock: socket.socket, address: str) -> None:
    """Binds to a port that no client gets by itself: one that the client has in use towards the same port of the pod would clash."""
    while True:
        try:
            sock.bind((address, random.randrange(10000, 30000)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return


def _plain(address: tuple) -> tuple[str, int]:
    return address[0].removeprefix("::ffff:"), address[1]


def _original_destination(connection: socket.socket) -> tuple[str, int]:
    """SO_ORIGINAL_DST where the kernel knows one, else getsockname()."""
    try:
        if connection.getsockname()[0].startswith("::ffff:"):
            raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            return socket.inet_ntop(socket.AF_INET, raw[4:8]), int.from_bytes(raw[2:4])
        raw = connection.getsockopt(socket.IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4])
    except OSError:
        return _plain(connection.getsockname())
