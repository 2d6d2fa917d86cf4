"""Switching capture on and off under running traffic: no connection is lost, neither a new one nor one that was there before."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest

from daemonset.capture.apply import adopt, apply, survey, undo
from daemonset.capture.connections import count_carried
from daemonset.capture.items import Mode, Phase
from daemonset.capture.plan import plan_capture
from ebpf.sockets import SocketWalker
from tests.netns.capture.ground import WAIT_S, Ground, Namespace, tcp
from tests.netns.capture.ztunnel import Ztunnel

RATE = 200  # new connections a second, in each direction
PATIENCE_S = 4.0  # a SYN that is held is sent again after one second


class Traffic:
    """Opens connections from one namespace to the other, at a steady rate, and says hello on each."""

    def __init__(self, client: Namespace, server: Namespace, family: socket.AddressFamily, rate: int = RATE) -> None:
        self._client, self._family, self._rate = client, family, rate
        self.done, self.failed = 0, []
        self._progress = threading.Condition()
        self._stop = threading.Event()
        self._listener = server.run(lambda: tcp(family))
        self._listener.bind((server.address(family), 0))
        self._listener.listen(1024)
        self._threads = [threading.Thread(target=work) for work in (self._serve, self._ask)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in reversed(self._threads):
            thread.join()
        self._listener.close()

    def wait_for(self, count: int) -> None:
        """Waits until so many more connections are done."""
        with self._progress:
            goal = self.done + count
            assert self._progress.wait_for(lambda: self.done + len(self.failed) >= goal, 20)

    def open(self) -> "Lasting":
        """A connection that stays open."""
        return Lasting(self._client.run(lambda: tcp(self._family)), self._listener.getsockname()[:2])

    def _serve(self) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._echo, sock=self._listener)
            while not self._stop.is_set():
                await asyncio.sleep(0.05)
            server.close()

        asyncio.run(serve())

    @staticmethod
    async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        writer.close()

    def _ask(self) -> None:
        def run() -> None:
            asyncio.run(self._ask_all())

        self._client.run(run)

    async def _ask_all(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            if self._rate == 0:
                await asyncio.sleep(0.01)
                continue
            task = asyncio.create_task(self._ask_one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(1 / self._rate)
        await asyncio.gather(*tasks)

    async def _ask_one(self) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection(*self._listener.getsockname()[:2])
                for _ in range(2):
                    writer.write(b"hello")
                    assert await reader.readexactly(5) == b"hello"
                    await asyncio.sleep(0.002)
                writer.close()
                await writer.wait_closed()
            error = None
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as caught:
            error = f"{caught!r} after {time.monotonic() - started:.3f} s"
        with self._progress:
            if error:
                self.failed.append(error)
            else:
                self.done += 1
            self._progress.notify_all()


class Lasting:
    """One connection that is used now and then."""

    def __init__(self, sock: socket.socket, target: tuple[str, int]) -> None:
        self._sock = sock
        sock.connect(target)

    def use(self) -> None:
        self._sock.sendall(b"still there")
        assert self._sock.recv(100) == b"still there"

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def traffics(ground: Ground, family: socket.AddressFamily) -> Iterator[list[Traffic]]:
    with Traffic(ground.pod, ground.peer, family) as outgoing, Traffic(ground.peer, ground.pod, family) as incoming:
        yield [outgoing, incoming]


@pytest.mark.parametrize("incoming", [False, True], ids=["outgoing", "incoming"])
def test_carried_connections_are_counted(ground: Ground, captured: Ztunnel, family: socket.AddressFamily, incoming: bool) -> None:
    client, server = (ground.peer, ground.pod) if incoming else (ground.pod, ground.peer)
    assert count_carried(ground.site) == 0
    with Traffic(client, server, family, rate=0) as traffic:
        lasting = traffic.open()
        lasting.use()
        assert count_carried(ground.site) == 2, "one that ztunnel took, and one that it made"
        lasting.close()
        deadline = time.monotonic() + WAIT_S
        while count_carried(ground.site) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert count_carried(ground.site) == 0


def test_no_connection_is_lost_when_capture_is_switched(
    ground: Ground, mode: Mode, ztunnel: Ztunnel, walker: SocketWalker | None, traffics: list[Traffic]
) -> None:
    for traffic in traffics:
        traffic.wait_for(20)
    for _ in range(3):
        direct = [traffic.open() for traffic in traffics]
        apply(ground.site, plan_capture(mode, Phase.CAPTURE, survey(ground.site)), walker)
        assert adopt(ground.site, walker) == ()
        count = len(ztunnel.taken)
        ztunnel.wait_taken(count + RATE // 2)
        carried = [traffic.open() for traffic in traffics]
        for lasting in direct + carried:
            lasting.use()
        assert count_carried(ground.site) >= 2

        apply(ground.site, plan_capture(mode, Phase.DRAIN, survey(ground.site)), walker)
        for traffic in traffics:
            traffic.wait_for(RATE // 2)
        for lasting in direct + carried:
            lasting.use()
        for lasting in carried:
            lasting.close()
        deadline = time.monotonic() + 5
        while count_carried(ground.site) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert count_carried(ground.site) == 0
        taken = len(ztunnel.taken)

        undo(ground.site, walker)
        for traffic in traffics:
            traffic.wait_for(RATE // 4)
        assert len(ztunnel.taken) == taken
        for lasting in direct:
            lasting.use()
            lasting.close()
    assert [traffic.failed for traffic in traffics] == [[], []]
