"""A changed policy closes the live connections that it denies now, and no others."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
import structlog

from mesh.model import Service, Workload
from mesh.policy.evaluation import PolicyBook
from mesh.policy.model import PolicyAction, PolicyScope
from tests.coroutines import running
from tests.unit.ztunnel.fakes import FakeEngine, eventually, policies_told, service, update, workload
from tests.unit.ztunnel.test_decisions import CLIENT, CLIENT_ID, DEFAULT_ID, WEB, World
from tests.unit.ztunnel.test_policy_decisions import ALLOW, BUYER, DEFAULT, DENY, policy, ports
from ztunnel import enforcement as module
from ztunnel.decisions import decide
from ztunnel.discovery.policies import Policies
from ztunnel.enforcement import Enforcement
from ztunnel.engine.interface import Cause, Direction, Flow, LiveFlow, Local

HBONE = Flow(1, Direction.INBOUND_HBONE, "10.0.2.1", "10.0.1.1:8080", DEFAULT_ID)
PLAIN = Flow(1, Direction.INBOUND_PLAINTEXT, "10.0.2.9", "10.0.1.1:8080", "")
TO_WEB = Flow(1, Direction.OUTBOUND, "", "10.96.0.1:80", "")
STRANGER = Flow(1, Direction.OUTBOUND, "", "192.0.2.1:443", "")


def flow_of(source: str = "10.0.2.1", peer: str = DEFAULT_ID) -> Flow:
    return Flow(1, Direction.INBOUND_HBONE, source, "10.0.1.1:8080", peer)


class Scene:
    """The pods `client` and `web-1` of this node, and what lives."""

    def __init__(self, *resources: Workload | Service, live: tuple[Flow, ...] = (HBONE, PLAIN, TO_WEB, STRANGER)) -> None:
        beside = workload("web-1", "10.0.1.2", node="n1", services={WEB: {80: 8080}})
        self.world = World(beside, service("web", "10.96.0.1"), *resources)
        self.world.join("web-1")
        choices = [LiveFlow(flow, action) for flow in live for action in decide(flow, self.world.around).decision.choices]
        self.engine = FakeEngine(live=choices)
        self.enforcement = Enforcement(self.engine, self.world.around)
        self.labels = len(self.world.labels)

    async def told(self, *policies: object, **more: object) -> set[Flow]:
        """Returns what was closed after the change."""
        self.world.policies.apply(policies_told(*policies, **more))  # type: ignore[arg-type]
        self.engine.closed.clear()
        await self.enforcement.enforce()
        assert len(self.world.labels) == self.labels, "looking costs no report"
        assert all(cause is Cause.DENIED for _, cause, _ in self.engine.closed)
        return {live.flow for lives, _, _ in self.engine.closed for live in lives}

    def left(self) -> set[Flow]:
        return {live.flow for live in self.engine.live}

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.enforcement.run())


async def test_what_is_denied_now_is_closed_and_the_policy_named() -> None:
    scene = Scene()
    assert await scene.told(policy(ALLOW, BUYER)) == {HBONE, PLAIN}
    assert [detail for _, _, detail in scene.engine.closed] == ["denied by policy shop/a: no ALLOW policy matches"]
    assert scene.left() == {TO_WEB, STRANGER}


@pytest.mark.parametrize(
    ("action", "match", "closed"),
    [
        (ALLOW, DEFAULT, {PLAIN, TO_WEB}),
        (DENY, DEFAULT, {HBONE}),
        (DENY, BUYER, {TO_WEB}),
        (DENY, ports(8080), {HBONE, PLAIN, TO_WEB}),
        (DENY, ports(80), set()),
    ],
)
async def test_each_kind_of_flow_is_judged_as_it_was_let_in(action: PolicyAction, match: object, closed: set[Flow]) -> None:
    assert await Scene().told(policy(action, match)) == closed  # type: ignore[arg-type]


async def test_a_policy_in_dry_run_closes_nothing() -> None:
    assert await Scene().told(policy(DENY, ports(8080), dry_run=True)) == set()


async def test_a_policy_that_cannot_be_read_closes_what_it_may_forbid() -> None:
    scene = Scene()
    assert await scene.told(refused=("elsewhere/bad",)) == set()
    assert await scene.told(refused=("shop/bad",)) == {HBONE, PLAIN, TO_WEB}


async def test_a_policy_that_a_pod_lists_since_and_that_has_not_come() -> None:
    scene = Scene()
    store = scene.world.around.view
    store.apply(update(replace(CLIENT, policies=("shop/announced",))))  # type: ignore[attr-defined]
    assert await scene.told() == {HBONE, PLAIN}
    assert await scene.told(policy(DENY, name="announced", scope=PolicyScope.SELECTOR)) == set()


@pytest.mark.parametrize("gone", [("Kubernetes//Pod/shop/client",), (WEB,), ("Kubernetes//Pod/shop/web-1",)])
async def test_what_is_gone_or_unknown_closes_nothing(gone: tuple[str, ...]) -> None:
    scene = Scene()
    scene.world.around.view.apply(update(removed=gone))  # type: ignore[attr-defined]
    assert await scene.told() == set()


async def test_a_service_that_is_gone_does_not_hide_where_its_connections_went() -> None:
    scene = Scene()
    scene.world.around.view.apply(update(removed=(WEB,)))  # type: ignore[attr-defined]
    assert await scene.told(policy(DENY, BUYER)) == {TO_WEB}


async def test_pods_that_have_left_are_the_engines_to_close() -> None:
    scene = Scene()
    for uid in ("u-client", "u-web-1"):
        pod = scene.world.pods.by_uid(uid)
        assert pod is not None
        scene.world.pods.remove(pod)
    assert await scene.told(policy(ALLOW)) == set()


async def test_before_the_first_answer_about_policies_nothing_is_closed() -> None:
    scene = Scene()
    around = replace(scene.world.around, policies=Policies(PolicyBook("cluster.local"), "istio-system"))
    await Enforcement(scene.engine, around).enforce()
    assert scene.engine.closed == []


async def test_of_a_service_with_pods_here_and_elsewhere_only_what_went_to_the_denied_pod_is_closed() -> None:
    scene = Scene(workload("web-2", "10.0.2.2", services={WEB: {80: 8080}}), live=(TO_WEB,))
    assert len(scene.engine.live) == 2
    assert await scene.told(policy(DENY, ports(8080))) == {TO_WEB}
    [closed] = scene.engine.closed[0][0]
    assert isinstance(closed.action, Local)
    [left] = scene.engine.live
    assert not isinstance(left.action, Local), "the other node's to close"


async def test_a_burst_of_changes_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COALESCE_S", 0.0)
    scene = Scene()
    looks: list[int] = []
    scene.engine.live_flows = lambda: looks.append(1) or []  # type: ignore[method-assign,func-returns-value]
    async with scene.running():
        for _ in range(100):
            scene.enforcement.changed()
        await eventually(lambda: looks)
        for _ in range(10):
            await asyncio.sleep(0)
        assert looks == [1]
        scene.enforcement.changed()
        await eventually(lambda: len(looks) == 2)


async def test_ten_thousand_live_flows_are_closed_and_the_loop_has_its_turns() -> None:
    flows = [flow_of(source=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}") for number in range(10_000)]
    scene = Scene(live=())
    scene.engine.live = [LiveFlow(flow, decide(flow, scene.world.around).decision.choices[0]) for flow in flows]
    scene.labels = len(scene.world.labels)
    scene.world.policies.apply(policies_told(*(policy(DENY, name=f"p{number}", scope=PolicyScope.SELECTOR) for number in range(10_000))))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    with structlog.testing.capture_logs() as lines:
        closed = await scene.told(policy(DENY, DEFAULT))
    counting.cancel()
    assert len(closed) == 10_000
    assert lines[-1]["flows"] == 10_000
    assert turns >= 10_000 // module.CLOSED_AT_ONCE, "others run between one batch and the next"


async def test_only_who_is_denied_goes() -> None:
    welcome = flow_of(peer=CLIENT_ID)
    assert await Scene(live=(welcome, HBONE)).told(policy(ALLOW, BUYER)) == {HBONE}
