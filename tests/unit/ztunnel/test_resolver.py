"""Misses: answered at once, or after what they need has come, or refused; never from old knowledge."""

import asyncio
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address

import pytest

from mesh.identity import Identity
from mesh.model import IPAddress
from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope
from tests.coroutines import running
from tests.unit.ztunnel.fakes import NODE, FakeEngine, eventually, policies_of, policies_told, service, store_of, update, workload
from ztunnel import resolver as module
from ztunnel.discovery.policies import POLICIES
from ztunnel.discovery.store import Store
from ztunnel.engine.interface import Cause, Direct, Direction, Flow, Reject, Tunnel
from ztunnel.pods import LocalPods, PodInfo
from ztunnel.resolver import CREDENTIALS_WAIT_S, FIRST_WAIT_S, HOSTNAMES_WAIT_S, LABELS_WAIT_S, UNKNOWN_WAIT_S, Resolver
from ztunnel.surroundings import Surroundings
from ztunnel.telemetry.dry_run import DryRun

CLIENT = workload("client", "10.0.1.1", node="n1", account="buyer")
CLIENT_ID = "spiffe://cluster.local/ns/shop/sa/buyer"


class Knowledge:
    """Names settle when the test says so, or when it says that the time is up."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.synced = True
        self.unknown: set[str] = set()
        self.waits: list[tuple[tuple[str, ...], float]] = []
        self.released = asyncio.Event()

    def settled(self, name: str) -> bool:
        return name not in self.unknown

    async def settle(self, names: tuple[str, ...], timeout_s: float) -> None:
        if self.unknown.intersection(names):
            self.waits.append((names, timeout_s))
            await self.released.wait()
            self.unknown.difference_update(names)


class Names:
    """Lookups are answered with what `answers` has, at the loop's next turn."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[IPAddress, ...]] = {}
        self.known: dict[str, tuple[IPAddress, ...]] = {}
        self.waits: list[tuple[tuple[str, ...], float]] = []

    def settled(self, hostname: str) -> bool:
        return hostname in self.known

    async def settle(self, hostnames: tuple[str, ...], timeout_s: float) -> None:
        if hostnames:
            self.waits.append((hostnames, timeout_s))
            await asyncio.sleep(0)
            self.known.update(self.answers)


class Keeper:
    def __init__(self) -> None:
        self.held = {CLIENT_ID}
        self.waits: list[tuple[str, float]] = []
        self.comes = True

    def holds(self, identity: str) -> bool:
        return identity in self.held

    async def wait(self, identity: Identity, timeout_s: float) -> None:
        self.waits.append((str(identity), timeout_s))
        await asyncio.sleep(0)
        if self.comes:
            self.held.add(str(identity))


class World:
    def __init__(self) -> None:
        self.engine, self.keeper = FakeEngine(), Keeper()
        self.knowledge = Knowledge(store_of(CLIENT))
        pods = self.pods = LocalPods("Kubernetes", "cluster.local")
        pods.put(pods.describe(PodInfo("u-1", "client", "shop", "buyer"), (4, 1)))
        self.policies, self.dry_run, self.names = policies_of(), DryRun(), Names()
        around = Surroundings(
            NODE, self.knowledge.store, pods, self.policies, lambda labels: 7, addresses_of=lambda name: self.names.known.get(name, ())
        )
        self.resolver = Resolver(self.engine, self.knowledge, self.names, self.keeper, around, self.dry_run)

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.resolver.run())

    def answer(self, flow: Flow) -> object:
        (choice,) = self.engine.decisions[flow].choices
        return choice


def outbound(destination: str) -> Flow:
    return Flow(1, Direction.OUTBOUND, "", destination, "")


async def test_what_is_known_is_answered_at_once() -> None:
    world = World()
    world.resolver.miss(outbound("192.0.2.1:443"))
    assert world.answer(outbound("192.0.2.1:443")) == Direct(("192.0.2.1", 443), False, 7)


async def test_a_stranger_waits_for_the_control_plane_and_then_passes() -> None:
    world, flow = World(), outbound("192.0.2.1:443")
    async with world.running():
        world.knowledge.unknown = {"/192.0.2.1"}
        world.resolver.miss(flow)
        await eventually(lambda: world.knowledge.waits)
        assert world.knowledge.waits == [(("Kubernetes//Pod/shop/client", "/192.0.2.1"), UNKNOWN_WAIT_S)]
        assert (world.engine.decisions, world.resolver.pending) == ({}, 1)
        world.knowledge.released.set()
        await eventually(lambda: world.engine.decisions)
        assert isinstance(world.answer(flow), Direct)
        await eventually(lambda: world.resolver.pending == 0)


async def test_before_the_first_answer_of_the_control_plane_the_wait_is_longer() -> None:
    world = World()
    async with world.running():
        world.knowledge.synced = False
        world.knowledge.unknown = {"/192.0.2.1"}
        world.resolver.miss(outbound("192.0.2.1:443"))
        await eventually(lambda: world.knowledge.waits)
        assert world.knowledge.waits[0][1] == FIRST_WAIT_S


async def test_what_comes_during_the_wait_counts() -> None:
    world, flow = World(), outbound("10.0.2.1:80")
    async with world.running():
        world.knowledge.unknown = {"/10.0.2.1"}
        world.resolver.miss(flow)
        await eventually(lambda: world.knowledge.waits)
        world.knowledge.store.apply(update(workload("web-1", "10.0.2.1")))
        world.knowledge.released.set()
        await eventually(lambda: world.engine.decisions)
        assert isinstance(world.answer(flow), Tunnel)


async def test_labels_are_waited_for_only_briefly() -> None:
    world, flow = World(), Flow(1, Direction.INBOUND_PLAINTEXT, "10.0.2.1", "10.0.1.1:80", "")
    async with world.running():
        world.knowledge.unknown = {"/10.0.2.1"}
        world.knowledge.released.set()
        world.resolver.miss(flow)
        await eventually(lambda: world.engine.decisions)
        assert world.knowledge.waits == [(("/10.0.2.1",), LABELS_WAIT_S)]
        assert isinstance(world.answer(flow), Direct)


async def test_a_tunnel_waits_for_its_certificate() -> None:
    world, flow = World(), outbound("10.0.2.1:80")
    world.knowledge.store.apply(update(workload("web-1", "10.0.2.1")))
    world.keeper.held.clear()
    async with world.running():
        world.resolver.miss(flow)
        assert world.engine.decisions == {}
        await eventually(lambda: world.engine.decisions)
        assert world.keeper.waits == [(CLIENT_ID, CREDENTIALS_WAIT_S)]
        assert isinstance(world.answer(flow), Tunnel)


async def test_without_a_certificate_it_is_refused_and_never_sent_in_plain() -> None:
    world, flow = World(), outbound("10.0.2.1:80")
    world.knowledge.store.apply(update(workload("web-1", "10.0.2.1")))
    world.keeper.held.clear()
    world.keeper.comes = False
    async with world.running():
        world.resolver.miss(flow)
        await eventually(lambda: world.engine.decisions)
        assert world.answer(flow) == Reject(503, Cause.TLS_FAILURE, 7, f"no certificate for {CLIENT_ID}")
        assert not world.engine.decisions[flow].cache


async def test_the_number_of_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 1)
    world = World()
    async with world.running():
        world.knowledge.unknown = {"/192.0.2.1", "/192.0.2.2"}
        world.resolver.miss(outbound("192.0.2.1:80"))
        world.resolver.miss(outbound("192.0.2.2:80"))
        answer = world.answer(outbound("192.0.2.2:80"))
        assert isinstance(answer, Reject)
        assert answer.cause is Cause.OVERLOADED
        assert not world.engine.decisions[outbound("192.0.2.2:80")].cache


async def test_trouble_with_one_flow_is_refused_and_the_next_is_answered() -> None:
    world, flow = World(), outbound("192.0.2.1:80")
    async with world.running():
        world.knowledge.unknown = {"/192.0.2.1"}

        async def broken(names: tuple[str, ...], timeout_s: float) -> None:
            raise AssertionError("broken invariant")

        world.knowledge.settle = broken  # type: ignore[method-assign]
        world.resolver.miss(flow)
        await eventually(lambda: world.engine.decisions)
        answer = world.answer(flow)
        assert isinstance(answer, Reject)
        assert answer.cause is Cause.DECISION_TIMEOUT
        world.resolver.miss(outbound("192.0.2.9:80"))
        assert isinstance(world.answer(outbound("192.0.2.9:80")), Direct)


def test_all_waits_together_end_before_the_engine_gives_up() -> None:
    engine_gives_up_s = 10.0
    assert FIRST_WAIT_S + LABELS_WAIT_S + HOSTNAMES_WAIT_S + CREDENTIALS_WAIT_S < engine_gives_up_s


def inbound() -> Flow:
    return Flow(1, Direction.INBOUND_PLAINTEXT, "10.0.2.1", "10.0.1.1:80", "")


async def test_who_comes_in_waits_for_the_first_policies_and_is_refused_without() -> None:
    world = World()
    world.policies.synced = False
    async with world.running():
        world.knowledge.synced = False
        world.knowledge.unknown = {POLICIES}
        world.resolver.miss(inbound())
        await eventually(lambda: world.knowledge.waits)
        assert world.knowledge.waits == [(("Kubernetes//Pod/shop/client", POLICIES), FIRST_WAIT_S)]
        world.knowledge.released.set()
        await eventually(lambda: world.engine.decisions)
        answer = world.answer(inbound())
        assert isinstance(answer, Reject)
        assert (answer.status, answer.cause) == (503, Cause.DENIED)
        assert "has not told the policies" in answer.detail
        assert not world.engine.decisions[inbound()].cache
        world.policies.synced = True
        world.resolver.miss(inbound())
        assert isinstance(world.answer(inbound()), Direct)


async def test_an_endpoint_with_a_hostname_waits_for_the_lookup() -> None:
    world, flow = World(), outbound("10.96.0.1:80")
    key = "shop/web.shop.svc.cluster.local"
    db = workload("db", mesh=False, services={key: {80: 5432}}, hostname="db.example")
    world.knowledge.store.apply(update(service("web", "10.96.0.1"), db))
    world.names.answers["db.example"] = (ip_address("192.0.2.7"),)
    async with world.running():
        world.resolver.miss(flow)
        assert world.engine.decisions == {}
        await eventually(lambda: world.engine.decisions)
        assert world.names.waits == [(("db.example",), HOSTNAMES_WAIT_S)]
        assert world.answer(flow) == Direct(("192.0.2.7", 5432), False, 7)
        world.engine.decisions.clear()
        world.resolver.miss(flow)
        assert world.answer(flow) == Direct(("192.0.2.7", 5432), False, 7), "looked up once"


async def test_what_dry_run_would_refuse_is_told_once_for_the_decision() -> None:
    world = World()
    world.policies.apply(
        policies_told(Authorization("a", "shop", PolicyScope.NAMESPACE, PolicyAction.DENY, (((Match(destination_ports=(80,)),),),), True))
    )
    world.resolver.miss(inbound())
    assert isinstance(world.answer(inbound()), Direct)
    assert world.dry_run.counts == {"shop/a": 1}
