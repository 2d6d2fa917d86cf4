"""The applications of the tests: plain TCP clients and servers in pods, on the event loop of the test."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Coroutine

from tests.netns.engine.ground import Pod

# Bounds every wait of a test for something that must happen; a loaded machine needs a fraction of it.
WAIT_S = 15.0
READ_BYTES = 256 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def poll(condition: Callable[[], bool], words: str) -> None:
    """Waits for what announces itself to nobody. Raises: AssertionError: after WAIT_S."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{words}: not within {WAIT_S} s"
        await asyncio.sleep(0.01)


class Connection:
    """A TCP connection as an application has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    @property
    def local(self) -> tuple[str, int]:
        return _endpoint(self.sock.getsockname())

    @property
    def remote(self) -> tuple[str, int]:
        return _endpoint(self.sock.getpeername())

    async def send(self, data: bytes | memoryview) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self, maximum: int = READ_BYTES) -> bytes:
        """The next bytes; b"" at the end of what the other side sends."""
        async with asyncio.timeout(WAIT_S):
            return await self._loop.sock_recv(self.sock, maximum)

    async def receive_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = await self.receive(count - len(data))
            if not piece:
                raise EOFError(f"ended after {len(data)} of {count} bytes")
            data += piece
        return data

    async def receive_all(self) -> bytes:
        """Everything up to the other side's end."""
        pieces = []
        while piece := await self.receive():
            pieces.append(piece)
        return b"".join(pieces)

    async def ask(self, question: bytes) -> bytes:
        """Sends, and receives as many bytes."""
        await self.send(question)
        return await self.receive_exactly(len(question))

    def finish(self) -> None:
        """Sends no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()

    def close(self) -> None:
        self.sock.close()

    async def expect_reset(self) -> None:
        """Fails unless the connection ends with a reset."""
        try:
            while await self.receive():
                pass
        except ConnectionResetError:
            return
        raise AssertionError("ended in order, not with a reset")

    async def expect_gone(self) -> None:
        """Waits until nothing more can come: the end or a reset, either will do."""
        with contextlib.suppress(ConnectionResetError):
            while await self.receive():
                pass


class Peers:
    """Makes connections and servers, and closes them all at the end of a test."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closers: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, pod: Pod, address: str, port: int) -> Connection:
        """Raises: ConnectionError, as the application would see it."""
        sock = pod.socket(_family(address))
        self._closers.append(sock.close)
        async with asyncio.timeout(WAIT_S):
            await self._loop.sock_connect(sock, (address, port))
        return Connection(sock)

    def connect_now(self, pod: Pod, address: str, port: int) -> Connection:
        """Connects while nothing else of this process runs: whoever listens here has no chance to accept."""
        sock = pod.socket(_family(address))
        self._closers.append(sock.close)
        sock.setblocking(True)
        sock.settimeout(WAIT_S)
        sock.connect((address, port))
        sock.setblocking(False)
        return Connection(sock)

    def listen(self, pod: Pod, family: socket.AddressFamily, port: int) -> "Listener":
        sock = pod.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._closers.append(sock.close)
        sock.bind((pod.address(family), port))
        sock.listen(4096)
        return Listener(sock, self)

    def closing(self, close: Callable[[], None]) -> None:
        """Calls `close` when the test is over."""
        self._closers.append(close)

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Runs something beside the test; its failure is the test's."""
        self._tasks.append(asyncio.ensure_future(work))

    async def close(self) -> None:
        for close in self._closers:
            close()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, OSError | asyncio.CancelledError):
                raise result


class Listener:
    """A listening socket of an application."""

    def __init__(self, sock: socket.socket, peers: Peers) -> None:
        self.sock = sock
        self._peers = peers
        self._loop = asyncio.get_running_loop()

    async def accept(self) -> Connection:
        async with asyncio.timeout(WAIT_S):
            sock, _ = await self._loop.sock_accept(self.sock)
        self._peers.closing(sock.close)
        return Connection(sock)

    def serve_echo(self) -> None:
        """Sends back what comes, on every connection, and ends when the client ends."""
        self._peers.run(self._accept_all(echo))

    def serve_greeting(self, greeting: bytes) -> None:
        """Speaks first, then echoes."""

        async def greet(connection: Connection) -> None:
            await connection.send(greeting)
            await echo(connection)

        self._peers.run(self._accept_all(greet))

    async def _accept_all(self, serve: Callable[[Connection], Coroutine[None, None, None]]) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(self.sock)
            self._peers.closing(sock.close)
            self._peers.run(serve(Connection(sock)))


async def echo(connection: Connection) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(connection.sock, READ_BYTES):
            await connection.send(data)
    finally:
        connection.close()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _endpoint(name: tuple[str, int] | tuple[str, int, int, int]) -> tuple[str, int]:
    return name[0], name[1]
