"""Our HTTP/2 behind a plain socket, in a thread: enough I/O to talk to programs that we did not write."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ztunnel.hbone import (
    Budget,
    ConnectAnswered,
    Connection,
    ConnectRequested,
    Data,
    Ended,
    Event,
    GoAway,
    Limits,
    Rejected,
    Reset,
    Role,
    Settled,
    Stream,
    Writable,
)

WAIT_S = 20.0
READ_BYTES = 64 * 1024


@dataclass
class Half:
    """Our side of one stream."""

    stream: Stream
    status: int = 0
    authority: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    pending: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    closing: bool = False
    ended: bool = False
    reset_code: int | None = None


class Endpoint:
    """One connection on a socket; everything in it is touched with `changed` held.

    A server echoes each stream, and gives the window back as the echo leaves; it answers authorities on port 503 with 503.
    """

    def __init__(self, role: Role, sock: socket.socket, limits: Limits | None = None) -> None:
        self.connection = Connection(role, limits or Limits(), Budget(64 << 20))
        self.changed = threading.Condition()
        self.halves: dict[int, Half] = {}
        self.events: list[Event] = []
        self.over = False
        self._sock = sock
        self.connection.start()
        self._flush()

    def run(self) -> None:
        """Until the peer closes, or either side has had enough."""
        try:
            while not self.over and (octets := self._sock.recv(READ_BYTES)):
                with self.changed:
                    for event in self.connection.receive(memoryview(octets), time.monotonic()):
                        self._handle(event)
                    self._flush()
                    self.changed.notify_all()
        except OSError:
            pass
        with self.changed:
            self.connection.receive_eof()
            self.over = True
            self._sock.close()
            self.changed.notify_all()

    def _flush(self) -> None:
        frames, self.connection.outgoing = self.connection.outgoing, []
        self._sock.sendall(b"".join(frames))

    def _handle(self, event: Event) -> None:
        if not isinstance(event, Data):
            self.events.append(event)
        if isinstance(event, ConnectRequested):
            status = 503 if event.authority.endswith(":503") else 200
            self.halves[event.stream.id] = Half(event.stream, status, event.authority, event.headers)
            self.connection.answer(event.stream, status)
        elif isinstance(event, ConnectAnswered | Data | Ended | Reset | Writable):
            self._handle_stream(event, self.halves[event.stream.id])
        elif not isinstance(event, Rejected | Settled | GoAway):
            self.over = True

    def _handle_stream(self, event: ConnectAnswered | Data | Ended | Reset | Writable, half: Half) -> None:
        echo = self.connection.role is Role.SERVER
        if isinstance(event, ConnectAnswered):
            half.status, half.headers = event.status, event.headers
        elif isinstance(event, Data):
            half.received += event.data
            if echo:
                half.pending += event.data
                self._push(half)
            else:
                self.connection.consumed(event.stream, event.flow_bytes)
        elif isinstance(event, Ended):
            half.ended = True
            half.closing = half.closing or echo
            self._push(half)
        elif isinstance(event, Reset):
            half.reset_code = event.code
        else:
            self._push(half)

    def _push(self, half: Half) -> None:
        while half.pending:
            size = min(len(half.pending), self.connection.sendable(half.stream))
            if not size:
                self.connection.block(half.stream)
                return
            self.connection.send_data(half.stream, bytes(half.pending[:size]))
            del half.pending[:size]
            if self.connection.role is Role.SERVER:
                self.connection.consumed(half.stream, size)
        if half.closing:
            self.connection.end_stream(half.stream)

    # What a test asks of a client

    def open(self, block: bytes, payload: bytes = b"", end: bool = False) -> Half:
        with self.changed:
            half = Half(self.connection.open_stream(block, None), pending=bytearray(payload), closing=end)
            self.halves[half.stream.id] = half
            self._push(half)
            self._flush()
            return half

    def wait(self, ready: Callable[[], object], what: str) -> None:
        """Until `ready()`."""
        with self.changed:
            assert self.changed.wait_for(lambda: ready() or self.over, WAIT_S), what
            assert ready(), f"the connection ended before {what}"

    def close(self) -> None:
        """Ends the connection."""
        with self.changed:
            if not self.over:
                self.over = True
                self._sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Runs the endpoint in a thread of its own."""
    thread = threading.Thread(target=endpoint.run)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()


class Server:
    """Accepts connections at a port of this machine, each with an Endpoint that echoes."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def run(self) -> None:
        """Until the listener is shut down."""
        with ExitStack() as stack:
            while True:
                try:
                    sock, _ = self.listener.accept()
                except OSError:
                    return
                self.endpoints.append(stack.enter_context(running(Endpoint(Role.SERVER, sock))))


@contextmanager
def serving() -> Iterator[Server]:
    """A Server in threads of its own."""
    server = Server()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()
