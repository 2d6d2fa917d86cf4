"""The server over a real socket, spoken to as ztunnel does."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemonset.pods import PodInfo
from daemonset.zds import conversation, server
from daemonset.zds.server import ZdsServer
from mesh.wire import zds_pb2 as pb

POD = PodInfo("uid-1", "web", "shop", "default")
WAIT_S = 5


class Peer:
    """One end of a connection, as ztunnel has it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(WAIT_S)
        self._socket.connect(str(path))

    async def send(self, message) -> None:
        self._socket.send(message if isinstance(message, bytes) else message.SerializeToString())

    async def hello(self) -> None:
        await self.send(pb.ZdsHello(version=pb.V1))

    async def ack(self, error: str = "") -> None:
        await self.send(pb.WorkloadResponse(ack=pb.Ack(error=error)))

    async def receive(self) -> tuple[str, list[tuple[int, int]]]:
        """The kind of the next request, and device and inode of what came with it; ("", []) at the end."""
        packet, fds, _, _ = await asyncio.to_thread(socket.recv_fds, self._socket, 4096, 4)
        found = []
        for fd in fds:
            status = os.fstat(fd)
            found.append((status.st_dev, status.st_ino))
            os.close(fd)
        return pb.WorkloadRequest.FromString(packet).WhichOneof("payload") if packet else "", found

    def close(self) -> None:
        self._socket.close()


def mode_of(path: Path) -> int:
    """The permissions of a socket; 0: it is not there."""
    return stat.S_IMODE(path.stat().st_mode) if path.is_socket() else 0


@contextlib.asynccontextmanager
async def serving(path: Path, acknowledged=lambda uid: None) -> AsyncIterator[ZdsServer]:
    running = ZdsServer(path, acknowledged)
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(WAIT_S):
        while not mode_of(path):
            await asyncio.sleep(0)
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "zds.sock"


@pytest.fixture
def netns(tmp_path: Path):
    """Any file: that it is a namespace is not the server's business."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_pod_is_handed_over_with_its_namespace(path: Path, netns: int) -> None:
    async def scenario() -> None:
        heard: list[str] = []
        async with serving(path, heard.append) as running:
            assert mode_of(path) == 0o600
            await running.register(POD, netns)
            assert running.refusal(POD.uid) == "no ztunnel is connected"
            peer = Peer(path)
            await peer.hello()
            status = os.fstat(netns)
            assert await peer.receive() == ("add", [(status.st_dev, status.st_ino)])
            assert running.refusal(POD.uid) == "ztunnel has not acknowledged yet"
            assert not await running.wait_served(POD.uid, 0.01)
            await peer.ack()
            assert await running.wait_served(POD.uid, WAIT_S)
            assert heard == [POD.uid]
            assert await peer.receive() == ("snapshot_sent", [])
            await peer.ack()
            withdrawn = asyncio.create_task(running.withdraw(POD.uid, WAIT_S))
            assert await peer.receive() == ("del", [])
            assert not withdrawn.done()
            await peer.ack()
            assert await withdrawn
            peer.close()

    asyncio.run(scenario())


def test_refusal_is_told(path: Path, netns: int) -> None:
    async def scenario() -> None:
        async with serving(path) as running:
            await running.register(POD, netns)
            peer = Peer(path)
            await peer.hello()
            await peer.receive()
            await peer.ack("no such namespace")
            assert (await peer.receive())[0] == "snapshot_sent"
            assert running.refusal(POD.uid) == "ztunnel refuses: no such namespace"
            peer.close()

    asyncio.run(scenario())


def test_a_newer_ztunnel_is_served_beside_the_older(path: Path, netns: int) -> None:
    async def scenario() -> None:
        async with serving(path) as running:
            await running.register(POD, netns)
            old, new = Peer(path), Peer(path)
            for peer in (old, new):
                await peer.hello()
                assert (await peer.receive())[0] == "add"
            await old.ack()
            assert not await running.wait_served(POD.uid, 0.05)
            await new.ack()
            assert await running.wait_served(POD.uid, WAIT_S)
            old.close()
            assert (await new.receive())[0] == "snapshot_sent"
            await new.ack()
            withdrawn = asyncio.create_task(running.withdraw(POD.uid, WAIT_S))
            assert (await new.receive())[0] == "del"
            await new.ack()
            assert await withdrawn
            new.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("first", [b"\xff\xff", pb.ZdsHello(), b"x" * 5000], ids=["noise", "no version", "too long"])
def test_what_is_no_hello_is_cut_off(path: Path, first) -> None:
    async def scenario() -> None:
        async with serving(path):
            peer = Peer(path)
            await peer.send(first)
            assert await peer.receive() == ("", [])
            peer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"\xff\xff", pb.WorkloadResponse(), b"x" * 5000], ids=["noise", "no ack", "too long"])
def test_what_is_no_answer_ends_the_connection(path: Path, netns: int, answer) -> None:
    async def scenario() -> None:
        async with serving(path) as running:
            await running.register(POD, netns)
            peer = Peer(path)
            await peer.hello()
            await peer.receive()
            await peer.send(answer)
            assert await peer.receive() == ("", [])
            assert running.refusal(POD.uid) == "no ztunnel is connected"
            peer.close()

    asyncio.run(scenario())


def test_an_answer_to_nothing_ends_the_connection(path: Path) -> None:
    async def scenario() -> None:
        async with serving(path):
            peer = Peer(path)
            await peer.hello()
            assert (await peer.receive())[0] == "snapshot_sent"
            await peer.ack()
            await peer.ack()
            assert await peer.receive() == ("", [])
            peer.close()

    asyncio.run(scenario())


def test_a_ztunnel_that_hangs_is_cut_off(path: Path, netns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "ACK_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        async with serving(path) as running:
            await running.register(POD, netns)
            peer = Peer(path)
            await peer.hello()
            await peer.receive()
            assert await peer.receive() == ("", [])
            peer.close()

    asyncio.run(scenario())


def test_connections_are_bounded(path: Path) -> None:
    async def scenario() -> None:
        async with serving(path):
            peers = [Peer(path) for _ in range(server.MAX_CONNECTIONS)]
            for peer in peers:
                await peer.hello()
                assert (await peer.receive())[0] == "snapshot_sent"
            extra = Peer(path)
            assert await extra.receive() == ("", [])
            for peer in [*peers, extra]:
                peer.close()

    asyncio.run(scenario())


def test_a_stale_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        stale.bind(str(path))

    async def scenario() -> None:
        async with serving(path):
            await asyncio.sleep(0)
            peer = Peer(path)
            await peer.hello()
            assert (await peer.receive())[0] == "snapshot_sent"
            peer.close()

    asyncio.run(scenario())
