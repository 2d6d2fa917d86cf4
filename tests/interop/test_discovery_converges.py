"""The control plane's discovery and ztunnel's, both real: any sequence of changes, cuts and reconnects ends like a fresh start.

The first test joins the two without sockets, message by message, so that each can be cut off anywhere; the second does it over gRPC.
"""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controlplane.feed import Feed
from controlplane.publisher import Publisher
from controlplane.stream import Stream
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.kubernetes import Object
from mesh.manifests import Reading
from mesh.settings import MeshSettings
from tests.interop.test_ztunnel_with_controlplane import NODE, PATIENCE_S, Neighbour
from tests.unit.controlplane.world import ambient, pod, service
from ztunnel.config import ControlPlaneSettings
from ztunnel.discovery.client import Discovery
from ztunnel.discovery.policies import POLICIES

NAMES = ["/10.96.0.0", "/10.96.0.1", *(f"/10.0.0.{n}" for n in range(4)), "Kubernetes//Pod/shop/p0", "shop/s1.shop.svc.cluster.local"]
NOWHERE = ControlPlaneSettings(("", 0), ("", 0), "", Path(), Path(), on_demand=True)


def policy(name: str, port: int, selected: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"rules": [{"to": [{"operation": {"ports": [str(port)]}}]}]}
    if selected:
        spec["selector"] = {"matchLabels": {"app": "a1"}}
    head = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": name, "namespace": "shop"}}
    return {**head, "spec": spec}


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """An address is a pod's own at any time, but goes from one to the next."""
    number = draw(st.integers(0, 3))
    node, app = draw(st.sampled_from([NODE.name, "n2"])), draw(st.sampled_from(["a0", "a1"]))
    return pod(f"p{number}", f"10.0.0.{draw(st.integers(0, 3))}", node, app, draw(st.booleans()))


OBJECTS = st.one_of(
    pods(),
    st.builds(lambda n, app: service(f"s{n}", f"10.96.0.{n}", app), st.integers(0, 1), st.sampled_from(["a0", "a1"])),
    st.builds(policy, st.sampled_from(["x", "y"]), st.integers(1, 2), st.booleans()),
)


@dataclass(frozen=True)
class Change:
    """What is there afterwards besides, and what is gone; `labelled`: whether the namespace is in the mesh."""

    present: list[dict[str, Any]]
    gone: list[str]
    labelled: bool

    def apply(self, objects: dict[ObjectKey, Object]) -> list[ObjectChange]:
        reading = Reading()
        namespace = ambient("shop") if self.labelled else {**ambient("shop"), "metadata": {"name": "shop"}}
        for one in (namespace, *self.present):
            reading.read("", one)
        assert reading.errors == []
        changes = {placed.outline.key: placed.value for placed in reading.placed}
        gone = [key for key in objects if key.name in self.gone and key not in changes]
        for key in gone:
            del objects[key]
        objects.update(changes)
        return [*(ObjectChange(key, None) for key in gone), *(ObjectChange(key, value) for key, value in changes.items())]


CHANGES = st.builds(
    Change, st.lists(OBJECTS, max_size=3), st.lists(st.sampled_from(["p0", "p1", "s0", "s1", "x", "y"]), max_size=2), st.booleans()
)
ASKED = st.sampled_from(NAMES)


@dataclass
class Link:
    """A stream between the two, without a network: `ahead` is under way to the node."""

    feed: Feed
    discovery: Discovery
    stream: Stream = field(init=False)
    ahead: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        """What was under way is lost."""
        nonces = itertools.count(1)
        self.stream = Stream(lambda: str(next(nonces)), self.feed, NODE.name)
        self.ahead.clear()
        self.discovery.begin()

    def to_control_plane(self) -> bool:
        requests = [request.SerializeToString() for request in self.discovery.outgoing()]
        for request in requests:
            self.stream.receive(discovery_pb2.DeltaDiscoveryRequest.FromString(request))
        self.ahead += [sent.serialise() for sent in self.stream.responses()]
        return bool(requests or self.ahead)

    def to_node(self) -> None:
        if self.ahead:
            self.discovery.take(discovery_pb2.DeltaDiscoveryResponse.FromString(self.ahead.pop(0)))

    def settle(self) -> None:
        for _ in range(200):
            if not self.to_control_plane():
                return
            self.to_node()
        raise AssertionError("there is always something to say")


def expect_like_a_fresh_start(discovery: Discovery, fresh: Discovery, feed: Feed) -> None:
    assert sorted(map(repr, discovery.policies)) == sorted(map(repr, fresh.policies))
    assert discovery.policies.synced
    held = discovery.store.versions()
    assert held == fresh.store.versions()
    for name in held:
        known = discovery.store.workload(name) or discovery.store.service(name)
        assert known == (feed.catalogue.workloads.get(name) or feed.catalogue.services.get(name))


# A pod that a service brought, and that stopped backing it while the stream was cut: nobody asked for it by name.
LEFT_BEHIND: list[Change | str] = [
    Change([service("s1", "10.96.0.1", "a1"), pod("p0", "10.0.0.0", "n2", "a1", True)], [], True),
    *("/10.96.0.1", "out", "in", "out", "in", "out", "in"),
    Change([pod("p0", "10.0.0.0", "n2", "a0", True)], [], True),
    "cut",
]


@settings(max_examples=200)
@example(LEFT_BEHIND)
@given(st.lists(CHANGES | ASKED | st.sampled_from(["out", "in", "in", "cut"]), max_size=25))
def test_any_history_message_by_message(script: list[Change | str]) -> None:
    feed, objects, asked = Feed(MeshSettings()), dict[ObjectKey, Object](), list[str]()
    link = Link(feed, Discovery(NODE, NOWHERE, lambda: None))
    for step in script:
        match step:
            case Change():
                list(feed.apply_in_steps(step.apply(objects), 2))
            case "out":
                link.to_control_plane()
            case "in":
                link.to_node()
            case "cut":
                link.connect()
            case name:
                asked.append(name)
                link.discovery.pin(name)
    link.settle()
    fresh = Link(feed, Discovery(NODE, NOWHERE, lambda: None))
    for name in asked:
        fresh.discovery.pin(name)
    fresh.settle()
    expect_like_a_fresh_start(link.discovery, fresh.discovery, feed)


# Each example starts a control plane.
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES | ASKED | st.just("cut"), max_size=12))
def test_any_history_over_grpc(tmp_path_factory: pytest.TempPathFactory, script: list[Change | str]) -> None:
    asyncio.run(_over_grpc(tmp_path_factory.mktemp("world"), script))


async def _over_grpc(directory: Path, script: Iterable[Change | str]) -> None:
    world, objects, asked = Neighbour(directory), dict[ObjectKey, Object](), list[str]()
    async with asyncio.timeout(3 * PATIENCE_S), world.running() as plane:
        await plane.ready()
        feed, node = plane.control_plane._feed, Discovery(NODE, world.ztunnel_settings(), lambda: None)
        session = asyncio.create_task(node.session())
        for step in script:
            match step:
                case Change():
                    await Publisher(feed).publish(step.apply(objects))
                case "cut":
                    session.cancel()
                    await asyncio.gather(session, return_exceptions=True)
                    session = asyncio.create_task(node.session())
                case name:
                    asked.append(name)
                    node.pin(name)
        # What every node is told of last: who knows it knows all that was there before.
        last = Change([pod("last", "10.0.0.99", NODE.name)], [], labelled=True)
        node.pin("/10.0.0.99")
        await node.settle((POLICIES, *asked, "/10.0.0.99"), PATIENCE_S)
        await Publisher(feed).publish(last.apply(objects))
        fresh = Discovery(NODE, world.ztunnel_settings(), lambda: None)
        other = asyncio.create_task(fresh.session())
        for name in (*asked, "/10.0.0.99"):
            fresh.pin(name)
        await fresh.settle((POLICIES, *asked, "/10.0.0.99"), PATIENCE_S)
        while not node.store.knows("/10.0.0.99"):
            await asyncio.sleep(0.005)
        expect_like_a_fresh_start(node, fresh, feed)
        for task in (session, other):
            task.cancel()
        await asyncio.gather(session, other, return_exceptions=True)
