"""ztunnel's clients (grpclib) against our control plane (grpcio): two implementations of gRPC, and our own two halves of each protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mesh.identity import Identity
from mesh.model import Service, Workload
from tests.unit.controlplane.world import World, ambient, pod, service
from tests.unit.ztunnel.certificates.once import fetch_once
from ztunnel.certificates.trust import Trust
from ztunnel.certificates.trust_files import TrustFiles
from ztunnel.config import ControlPlaneSettings, NodeSettings
from ztunnel.discovery.client import Discovery

NODE = NodeSettings("n1", "cluster.local", "Kubernetes", "")
WEB = "shop/web.shop.svc.cluster.local"
# What an answer may take on a busy machine.
PATIENCE_S = 20.0


class Neighbour(World):
    """The control plane's world, with what ztunnel needs to know of it."""

    def _channel(self, port: int) -> grpc.aio.Channel:
        self.port = port
        return super()._channel(port)

    def trust(self) -> Trust:
        return TrustFiles(self.state / "bundle" / "root-cert.pem", self.state / "bundle" / "ca-crl.pem").read()

    def ztunnel_settings(self, on_demand: bool = True) -> ControlPlaneSettings:
        token = self.state / "node-token"
        token.write_text(self.token())
        address = ("127.0.0.1", self.port)
        return ControlPlaneSettings(address, address, "controlplane.ambient", self.state / "bundle" / "root-cert.pem", token, on_demand)


class Node:
    def __init__(self, world: Neighbour, on_demand: bool = True) -> None:
        self.changed = asyncio.Event()
        self.discovery = Discovery(NODE, world.ztunnel_settings(on_demand), self.changed.set)

    def find(self, ip: str) -> Workload | Service | None:
        return self.discovery.store.find("", ip_address(ip))

    def endpoints(self) -> list[str]:
        return sorted(one.name for one in self.discovery.store.endpoints(WEB))

    async def ask(self, *names: str) -> None:
        await self.discovery.settle(names, PATIENCE_S)
        assert all(map(self.discovery.settled, names))

    async def next_change(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.changed.wait()
        self.changed.clear()


@asynccontextmanager
async def meeting(tmp_path: Path, on_demand: bool = True) -> AsyncIterator[tuple[Neighbour, Node]]:
    world = Neighbour(tmp_path)
    world.write(ambient("shop"), service("web", "10.96.0.1"), pod("web-1", "10.0.1.1"), pod("other", "10.0.1.9", app="other"))
    async with world.running() as plane:
        await plane.ready()
        node = Node(world, on_demand)
        task = asyncio.create_task(node.discovery.run())
        try:
            yield world, node
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def run(tmp_path: Path, on_demand: bool = True):  # type: ignore[no-untyped-def]
    """Runs a coroutine with a control plane and a node that know each other."""

    def decorate(story):  # type: ignore[no-untyped-def]
        async def whole() -> None:
            async with asyncio.timeout(3 * PATIENCE_S), meeting(tmp_path, on_demand) as (world, node):
                await story(world, node)

        asyncio.run(whole())

    return decorate


def test_on_demand_a_virtual_ip_brings_its_pods_and_follows_them(tmp_path: Path) -> None:
    @run(tmp_path)
    async def story(world: Neighbour, node: Node) -> None:
        await node.ask("/10.96.0.1")
        assert isinstance(node.find("10.96.0.1"), Service)
        assert node.endpoints() == ["web-1"]
        assert node.find("10.0.1.9") is None, "nobody asked for it"
        world.write(ambient("shop"), service("web", "10.96.0.1"), pod("web-1", "10.0.1.1"), pod("web-2", "10.0.2.1", node="n2"))
        await node.next_change()
        assert node.endpoints() == ["web-1", "web-2"]
        world.write(ambient("shop"), service("web", "10.96.0.1"), pod("web-2", "10.0.2.1", node="n2"))
        await node.next_change()
        assert node.endpoints() == ["web-2"]
        assert node.find("10.0.1.1") is None


def test_on_demand_a_stranger_is_known_to_be_one_and_may_become_a_pod(tmp_path: Path) -> None:
    @run(tmp_path)
    async def story(world: Neighbour, node: Node) -> None:
        await node.ask("/192.0.2.1", "/10.0.2.7")
        assert node.find("192.0.2.1") is None
        world.write(ambient("shop"), pod("late", "10.0.2.7", node="n2"))
        await node.next_change()
        assert isinstance(node.find("10.0.2.7"), Workload)


def test_an_own_pod_is_known_by_its_uid(tmp_path: Path) -> None:
    @run(tmp_path)
    async def story(world: Neighbour, node: Node) -> None:
        uid = "Kubernetes//Pod/shop/web-1"
        node.discovery.pin(uid)
        await node.ask(uid)
        own = node.discovery.store.workload(uid)
        assert own is not None
        assert list(map(str, own.addresses)) == ["10.0.1.1"]


def test_everything(tmp_path: Path) -> None:
    @run(tmp_path, on_demand=False)
    async def story(world: Neighbour, node: Node) -> None:
        await node.ask("/anything")
        assert {one.name for one in node.discovery.store.resources()} == {"web", "web-1", "other"}
        node.changed.clear()
        world.write(ambient("shop"), pod("other", "10.0.1.9", app="other"))
        await node.next_change()
        assert {one.name for one in node.discovery.store.resources()} == {"other"}


def test_a_certificate_for_a_pod_of_this_node_and_for_no_other(tmp_path: Path) -> None:
    @run(tmp_path)
    async def story(world: Neighbour, node: Node) -> None:
        certificate = await fetch_once(world.ztunnel_settings(), Identity("cluster.local", "shop", "default"), world.trust)
        assert certificate.credentials.certificate_chain.startswith(b"-----BEGIN CERTIFICATE-----")
        with pytest.raises(GRPCError) as refused:
            await fetch_once(world.ztunnel_settings(), Identity("cluster.local", "shop", "nobody"), world.trust)
        assert refused.value.status is Status.PERMISSION_DENIED


def test_a_token_of_somebody_else_is_refused_by_both(tmp_path: Path) -> None:
    @run(tmp_path)
    async def story(world: Neighbour, node: Node) -> None:
        settings = world.ztunnel_settings()
        settings.auth_token.write_text("eyJhbGciOiJub25lIn0.e30.")
        with pytest.raises(GRPCError) as refused:
            await fetch_once(settings, Identity("cluster.local", "shop", "default"), world.trust)
        assert refused.value.status is Status.UNAUTHENTICATED
        with pytest.raises(GRPCError) as refused:
            await Discovery(NODE, settings, lambda: None).session()
        assert refused.value.status is Status.UNAUTHENTICATED
