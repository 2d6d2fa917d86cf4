"""A conversation with the agent over a real socket pair: acknowledgements, snapshots, descriptors."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from mesh.wire import zds_pb2 as pb
from tests.unit.ztunnel.fakes import eventually
from ztunnel.pods import PodInfo
from ztunnel.zds.client import ZdsClient, namespace_id
from ztunnel.zds.codec import MAX_PACKET_BYTES
from ztunnel.zds.socket import MAX_FDS, PacketSocket


class FakeEnroller:
    """Takes pods and closes what comes with them."""

    def __init__(self) -> None:
        self.pods: dict[str, PodInfo] = {}
        self.namespaces: list[tuple[int, int]] = []
        self.fails = False

    def add(self, pod: PodInfo, netns_fd: int) -> None:
        self.namespaces.append(namespace_id(netns_fd))
        os.close(netns_fd)
        if self.fails:
            raise OSError(98, "Address already in use")
        self.pods[pod.uid] = pod

    def keeps(self, uid: str) -> bool:
        return uid in self.pods

    def delete(self, uid: str) -> None:
        self.pods.pop(uid, None)

    def retain(self, uids: frozenset[str]) -> None:
        self.pods = {uid: pod for uid, pod in self.pods.items() if uid in uids}


class Agent:
    """The agent's end of the pair."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end

    async def receive(self) -> bytes:
        while True:
            try:
                return self.end.recv(65536)
            except BlockingIOError:
                await asyncio.sleep(0)

    async def say(self, request: pb.WorkloadRequest | bytes, fds: tuple[int, ...] = ()) -> str:
        """Returns the error of the acknowledgement."""
        packet = request if isinstance(request, bytes) else request.SerializeToString()
        socket.send_fds(self.end, [packet], list(fds))
        return pb.WorkloadResponse.FromString(await self.receive()).ack.error


def add(uid: str) -> pb.WorkloadRequest:
    return pb.WorkloadRequest(add=pb.AddWorkload(uid=uid, workload_info=pb.WorkloadInfo(name=uid, namespace="shop", service_account="a")))


def keep(uid: str) -> pb.WorkloadRequest:
    return pb.WorkloadRequest(keep=pb.KeepWorkload(uid=uid))


def delete(uid: str) -> pb.WorkloadRequest:
    return pb.WorkloadRequest(**{"del": pb.DelWorkload(uid=uid)})


SNAPSHOT = pb.WorkloadRequest(snapshot_sent=pb.SnapshotSent())


class Talk:
    """A client that serves one end of a pair, and the agent at the other."""

    def __init__(self) -> None:
        self.enroller = FakeEnroller()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.agent = Agent(theirs)
        self.client = ZdsClient(Path("/nowhere"), self.enroller)
        self.task = asyncio.create_task(self.client.serve(PacketSocket(ours)))

    async def __aenter__(self) -> Self:
        hello = pb.ZdsHello.FromString(await self.agent.receive())
        assert hello.version == pb.V1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.agent.end.close()
        await asyncio.gather(self.task, return_exceptions=True)


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def netns() -> Iterator[int]:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    yield fd
    os.close(fd)


async def test_each_message_is_acknowledged(netns: int) -> None:
    async with Talk() as talk:
        assert await talk.agent.say(add("u-1"), (netns,)) == ""
        assert await talk.agent.say(keep("u-1")) == ""
        assert talk.enroller.namespaces == [namespace_id(netns)]
        assert await talk.agent.say(delete("u-1")) == ""
        assert await talk.agent.say(delete("u-1")) == "", "a pod that is gone may be deleted again"
        assert talk.enroller.pods == {}


async def test_what_the_snapshot_did_not_name_is_dropped(netns: int) -> None:
    async with Talk() as talk:
        talk.enroller.pods = {uid: PodInfo(uid, uid, "shop", "a") for uid in ("old", "kept", "deleted")}
        await talk.agent.say(add("new"), (netns,))
        await talk.agent.say(keep("kept"))
        await talk.agent.say(keep("deleted"))
        await talk.agent.say(delete("deleted"))
        assert not talk.client.snapshot_received
        await talk.agent.say(SNAPSHOT)
        assert talk.client.snapshot_received
        assert set(talk.enroller.pods) == {"new", "kept"}
        await talk.agent.say(add("later"), (netns,))
        assert set(talk.enroller.pods) == {"new", "kept", "later"}


async def test_a_pod_that_cannot_be_served_is_told_and_the_next_can(netns: int) -> None:
    async with Talk() as talk:
        talk.enroller.fails = True
        assert "Address already in use" in await talk.agent.say(add("u-1"), (netns,))
        talk.enroller.fails = False
        assert await talk.agent.say(add("u-1"), (netns,)) == ""


async def test_keeping_what_is_not_held_is_an_error() -> None:
    async with Talk() as talk:
        assert "u-1 is not held here" in await talk.agent.say(keep("u-1"))


async def test_a_bad_message_is_told_and_the_conversation_goes_on(netns: int) -> None:
    async with Talk() as talk:
        assert await talk.agent.say(b"\xff") == "not a WorkloadRequest"
        assert "0 file descriptors" in await talk.agent.say(add("u-1"))
        assert await talk.agent.say(add("u-1"), (netns,)) == ""


async def test_no_descriptor_is_ever_lost(netns: int) -> None:
    async with Talk() as talk:
        before = open_fds()
        await talk.agent.say(add("u-1"), (netns,))
        assert await talk.agent.say(add("u-2"), (netns, netns)) != ""
        assert await talk.agent.say(keep("u-1"), (netns,)) != ""
        assert await talk.agent.say(b"\xff", (netns,)) != ""
        assert await talk.agent.say(add("u-3"), (netns,) * (MAX_FDS + 5)) != ""
        assert await talk.agent.say(b"x" * (MAX_PACKET_BYTES + 1), (netns,)) != ""
        assert await talk.agent.say(b"x" * (2 * MAX_PACKET_BYTES + 1), (netns,)) != ""
        talk.enroller.fails = True
        assert await talk.agent.say(add("u-4"), (netns,)) != ""
        assert open_fds() == before


async def test_the_client_comes_back_and_serves_on(netns: int) -> None:
    enroller = FakeEnroller()
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    ends = iter([ours for ours, _ in pairs])
    client = ZdsClient(Path("/nowhere"), enroller, lambda _: PacketSocket(next(ends)))
    task = asyncio.create_task(client.run())
    for uid, (_, theirs) in zip(("u-1", "u-2"), pairs, strict=True):
        agent = Agent(theirs)
        assert pb.ZdsHello.FromString(await agent.receive()).version == pb.V1
        assert await agent.say(add(uid), (netns,)) == ""
        assert client.connected
        theirs.close()
        if uid == "u-1":
            await eventually(lambda: not client.connected)
            assert set(enroller.pods) == {"u-1"}, "pods stay while the agent is away"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
