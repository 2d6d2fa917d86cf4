"""The xDS client against a real gRPC server over TLS: what it asks, what it waits for, what it does when the stream breaks."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as xds
from grpclib.exceptions import GRPCError

from tests.coroutines import running
from tests.unit.ztunnel import plane as planes
from tests.unit.ztunnel.discovery.test_wire import POLICY, packed, packed_policy, response
from tests.unit.ztunnel.fakes import NODE, eventually, service, workload
from tests.unit.ztunnel.plane import Plane
from ztunnel.control_plane import CALL_ERRORS
from ztunnel.discovery.client import Discovery
from ztunnel.discovery.demand import STRANGER_LIFETIME_S, Demand
from ztunnel.discovery.policies import POLICIES
from ztunnel.discovery.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

WEB = "shop/web.shop.svc.cluster.local"
# Long enough that only an answer, never the time, ends the wait.
LONG_S = 20.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Node:
    """A discovery client that counts what it is told to invalidate."""

    def __init__(self, plane: Plane, on_demand: bool = True, demand: Demand | None = None) -> None:
        self.changes = 0
        self.enforced = 0
        self.clock = Clock()
        settings = plane.settings_for(plane.settings.xds[1], on_demand)
        self.discovery = Discovery(NODE, settings, self._changed, demand, self.clock, self._enforce)

    def _enforce(self) -> None:
        self.enforced += 1

    def _changed(self) -> None:
        self.changes += 1


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Discovery]:
    async with running(node.discovery.run()):
        yield node.discovery


async def test_a_name_is_asked_for_and_the_answer_ends_the_wait(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        first = await session.receive()
        assert list(first.resource_names_subscribe) == list(first.resource_names_unsubscribe) == ["*"]
        waiting = asyncio.create_task(discovery.settle(("/10.96.0.1",), LONG_S))
        assert list((await session.receive()).resource_names_subscribe) == ["/10.96.0.1"]
        assert not discovery.settled("/10.96.0.1")
        web, pod = service("web", "10.96.0.1"), workload("web-1", "10.0.0.1", services={WEB: {80: 8080}})
        await session.send(response(packed(web), packed(pod)))
        await waiting
        assert discovery.settled("/10.96.0.1")
        assert discovery.store.find("", ip_address("10.96.0.1")) == web
        acknowledged = await session.receive()
        assert acknowledged.response_nonce == "1"
        assert not acknowledged.HasField("error_detail")


async def test_an_address_that_came_with_a_service_is_asked_for_where_it_may_be_a_pods(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        await session.receive()
        backs = {WEB: {80: 8080}}
        mine, own = workload("web-1", "10.0.0.1", services=backs), workload("vm", "192.0.2.7", mesh=False, services=backs)
        claimed = workload("vm", "10.0.0.2", mesh=False, services=backs)
        claimed, own = (replace(one, uid=f"c/networking.istio.io/WorkloadEntry/shop/{number}") for number, one in enumerate((claimed, own)))
        await session.send(response(packed(service("web", "10.96.0.1")), *map(packed, (mine, claimed, own))))
        await session.receive()
        assert discovery.settled("/10.0.0.1"), "nobody takes the address of a pod"
        assert not discovery.settled("/10.0.0.2")
        assert not discovery.settled("/192.0.2.7")
        waiting = asyncio.create_task(discovery.settle(("/10.0.0.2", "/192.0.2.7"), LONG_S))
        pod = workload("victim", "10.0.0.2")
        await session.send(response(packed(pod), packed(own)))
        await waiting
        assert discovery.store.find("", ip_address("10.0.0.2")) == pod
        assert discovery.store.find("", ip_address("192.0.2.7")) == own


async def test_a_removal_ends_the_wait_at_once(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        waiting = asyncio.create_task(discovery.settle(("/192.0.2.1",), LONG_S))
        await session.receive()
        await session.send(response(removed=("/192.0.2.1",)))
        await waiting
        assert discovery.settled("/192.0.2.1"), "a stranger, and known to be one: nobody waits again"


async def test_without_an_answer_the_wait_is_bounded_and_not_repeated(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane)
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            await session.receive()
            await discovery.settle(("/10.0.0.1",), 0.01)
            assert discovery.settled("/10.0.0.1")
            assert node.changes == 0
            await session.send(response(packed(workload("late", "10.0.0.1"))))
            await eventually(lambda: node.changes)


async def test_a_bad_resource_is_refused_and_the_last_good_one_stays(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        await session.receive()
        good = workload("web-1", "10.0.0.1")
        await session.send(response(packed(good)))
        await session.receive()
        bad = packed(good)
        bad.resource.value = b"\xff\xff"
        await session.send(response(bad, packed(workload("web-2", "10.0.0.2"))))
        refusal = await session.receive()
        assert refusal.error_detail.code == 3
        assert good.uid in refusal.error_detail.message
        assert discovery.store.workload(good.uid) == good
        assert discovery.store.find("", ip_address("10.0.0.2")) is not None


async def test_a_new_stream_asks_for_all_again_with_versions_and_a_fresh_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        pod = workload("web-1", "10.0.0.1")
        waiting = asyncio.create_task(discovery.settle(("/10.0.0.1",), LONG_S))
        await session.receive()
        await session.send(response(packed(pod)))
        await waiting
        plane.token.write_text("second-token")
        session.end()
        again = await plane.discovery.sessions.get()
        request = await again.receive()
        assert list(request.resource_names_subscribe) == ["/10.0.0.1"]
        assert dict(request.initial_resource_versions) == {pod.uid: "7"}
        assert plane.discovery.tokens == ["Bearer first-token", "Bearer second-token"]
        assert discovery.store.workload(pod.uid) == pod, "what was known stays while the control plane is away"
        await again.send(response(removed=(pod.uid, "/10.0.0.1")))
        await eventually(lambda: discovery.store.workload(pod.uid) is None)


async def test_a_new_stream_asks_for_what_was_asked_for_and_names_what_came_with_it_as_held(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        await session.receive()
        waiting = asyncio.create_task(discovery.settle(("/10.96.0.1",), LONG_S))
        await session.receive()
        pods = [workload(f"web-{number}", f"10.0.0.{number}", services={WEB: {80: 8080}}) for number in range(1, 4)]
        await session.send(response(packed(service("web", "10.96.0.1")), *map(packed, pods)))
        await waiting
        session.end()
        first = await (await plane.discovery.sessions.get()).receive()
        assert list(first.resource_names_subscribe) == ["/10.96.0.1"], "it brings the rest"
        assert set(first.initial_resource_versions) == {WEB, *(pod.uid for pod in pods)}


def policies_told(*resources: xds.Resource, removed: tuple[str, ...] = ()) -> xds.DeltaDiscoveryResponse:
    return response(*resources, removed=removed, type_url=AUTHORIZATION_TYPE)


async def test_policies_are_asked_for_before_addresses_and_waited_for(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane)
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            first = await session.receive_any()
            assert (first.type_url, list(first.resource_names_subscribe)) == (AUTHORIZATION_TYPE, ["*"])
            assert not discovery.settled(POLICIES)
            waiting = asyncio.create_task(discovery.settle((POLICIES,), LONG_S))
            await session.send(policies_told(packed_policy(POLICY)))
            await waiting
            assert discovery.settled(POLICIES)
            assert discovery.policies.get(POLICY.key) == POLICY
            assert not discovery.synced, "addresses are another matter"
            assert (node.changes, node.enforced) == (1, 1)
            acknowledged = await session.receive(AUTHORIZATION_TYPE)
            assert (acknowledged.response_nonce, acknowledged.HasField("error_detail")) == ("1", False)


@pytest.mark.parametrize("on_demand", [True, False])
async def test_without_an_answer_about_policies_the_wait_is_bounded(tmp_path: Path, on_demand: bool) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane, on_demand)) as discovery:
        session = await plane.discovery.sessions.get()
        await session.send(response())
        await eventually(lambda: discovery.synced)
        await discovery.settle((POLICIES,), 0.01)
        assert not discovery.settled(POLICIES), "nothing is let in by default"


async def test_a_bad_policy_is_refused_by_name_and_denies_until_it_is_gone(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane)
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            await session.receive(AUTHORIZATION_TYPE)
            bad = packed_policy(POLICY)
            bad.resource.value = b"\xff"
            await session.send(policies_told(bad))
            refusal = await session.receive(AUTHORIZATION_TYPE)
            assert (refusal.error_detail.code, POLICY.key in refusal.error_detail.message) == (3, True)
            assert discovery.policies.blocking("shop") == POLICY.key
            session.end()
            again = await plane.discovery.sessions.get()
            assert dict((await again.receive(AUTHORIZATION_TYPE)).initial_resource_versions) == {POLICY.key: ""}
            await again.send(policies_told(removed=(POLICY.key,)))
            await eventually(lambda: not discovery.policies.blocking("shop"))
            assert node.enforced == 2


async def test_a_new_stream_says_which_policies_are_held(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        await session.send(policies_told(packed_policy(POLICY)))
        await eventually(lambda: discovery.policies.synced)
        session.end()
        again = await plane.discovery.sessions.get()
        request = await again.receive(AUTHORIZATION_TYPE)
        assert (list(request.resource_names_subscribe), dict(request.initial_resource_versions)) == (["*"], {POLICY.key: "7"})
        assert discovery.settled(POLICIES), "what was known goes on while the control plane is away"


async def test_a_response_of_an_unknown_type_is_refused_and_means_nothing(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, serving(Node(plane)) as discovery:
        session = await plane.discovery.sessions.get()
        await session.send(response(packed(workload("web-1", "10.0.0.1")), type_url="type.googleapis.com/x"))
        refusal = await session.receive("type.googleapis.com/x")
        assert (refusal.response_nonce, refusal.error_detail.code) == ("1", 3)
        assert (discovery.synced, discovery.policies.synced, list(discovery.store.resources())) == (False, False, [])


async def test_only_pods_of_this_node_and_policies_concern_live_connections(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane)
        own = workload("own", "10.0.0.1", node="n1")
        node.discovery.pin(own.uid)
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            await session.send(response(packed(workload("other", "10.0.0.2"))))
            await eventually(lambda: discovery.synced)
            assert node.enforced == 0
            await session.send(response(packed(own)))
            await eventually(lambda: discovery.store.workload(own.uid))
            assert node.enforced == 1
            await session.send(response(removed=(own.uid,)))
            await eventually(lambda: discovery.store.workload(own.uid) is None)
            assert node.enforced == 2


async def test_everything_when_asked_for(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane, on_demand=False)
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            first = await session.receive()
            assert (list(first.resource_names_subscribe), list(first.resource_names_unsubscribe)) == (["*"], [])
            waiting = asyncio.create_task(discovery.settle(("/10.0.0.1", "/192.0.2.1"), LONG_S))
            await session.send(response(packed(workload("web-1", "10.0.0.1"))))
            await waiting
            assert discovery.settled("/203.0.113.9"), "what did not come does not exist"
            assert node.changes == 1


async def test_strangers_are_dropped_after_a_while(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane)
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            waiting = asyncio.create_task(discovery.settle(("/192.0.2.1",), LONG_S))
            while "/192.0.2.1" not in (await session.receive()).resource_names_subscribe:
                pass
            await session.send(response(removed=("/192.0.2.1",)))
            await waiting
            discovery.shed()
            assert node.changes == 0
            node.clock.now_s = STRANGER_LIFETIME_S
            discovery.shed()
            assert node.changes == 1, "a cached decision would let them pass for ever"
            await _until_dropped(session, "/192.0.2.1")
            assert not discovery.settled("/192.0.2.1")


async def test_a_full_table_drops_the_longest_unused_with_what_came_by_them(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        node = Node(plane, demand=Demand(max_names=2, evicted_at_once=1))
        async with serving(node) as discovery:
            session = await plane.discovery.sessions.get()
            pod = workload("web-1", "10.0.0.1", services={WEB: {80: 8080}})
            waiting = asyncio.create_task(discovery.settle(("/10.96.0.1",), LONG_S))
            await session.receive()
            await session.send(response(packed(service("web", "10.96.0.1")), packed(pod)))
            await waiting
            discovery.pin("Kubernetes//Pod/shop/own")
            discovery.pin("Kubernetes//Pod/shop/own2")
            assert list(discovery.store.resources()) == []
            await _until_dropped(session, pod.uid)


async def _until_dropped(session: planes.Session, name: str) -> None:
    while name not in (await session.receive()).resource_names_unsubscribe:
        pass


async def test_another_name_in_the_certificate_is_refused(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        discovery = Discovery(NODE, plane.settings_for(plane.settings.xds[1], server_name="elsewhere.ambient"), lambda: None)
        with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
            await discovery.session()


async def test_tls_1_2_is_refused(tmp_path: Path) -> None:
    def old(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async with planes.running(tmp_path, old) as plane:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Discovery(NODE, plane.settings, lambda: None).session()


async def test_a_missing_token_is_told_by_its_path(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        plane.token.unlink()
        with pytest.raises(CALL_ERRORS, match=r"token .*No such file"):
            await Discovery(NODE, plane.settings, lambda: None).session()


def test_what_a_grpc_error_says() -> None:
    from grpclib.const import Status

    from ztunnel.control_plane import describe

    assert describe(GRPCError(Status.UNAUTHENTICATED, "token expired")) == "UNAUTHENTICATED: token expired"


async def test_a_control_plane_that_never_reads_its_acknowledgements_is_left(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        discovery = Node(plane).discovery
        discovery.begin()
        with pytest.raises(CALL_ERRORS, match="acknowledgements"):
            for number in range(10_000):
                discovery.take(xds.DeltaDiscoveryResponse(type_url=ADDRESS_TYPE, nonce=str(number)))
        assert len(discovery.outgoing()) < 2_000


async def test_an_absurd_nonce_is_not_repeated(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        discovery = Node(plane).discovery
        discovery.begin()
        with pytest.raises(CALL_ERRORS, match="nonce"):
            discovery.take(xds.DeltaDiscoveryResponse(type_url=ADDRESS_TYPE, nonce="n" * 1_000_000))
