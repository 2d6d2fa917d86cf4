"""Delta xDS over a real connection, seen from a node."""

import asyncio
import http.client
import time
from contextlib import AsyncExitStack

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.resources import AUTHORIZATION_TYPE
from mesh.wire import workload_pb2 as pb
from tests.unit.controlplane.world import Client, World, ambient, hostname, namespace, pod, service, uid

WEB = hostname("web")
SHOP = (namespace("shop"), pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), pod("c", "10.0.0.3", app="client"), service("web", "10.96.0.1"))


async def test_wildcard_is_told_everything_and_every_change(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        assert await client.names() == [uid("a"), uid("b"), uid("c"), WEB]
        assert client.seen[uid("a")].workload.addresses == [bytes([10, 0, 0, 1])]
        assert client.seen[WEB].service.hostname == "web.shop.svc.cluster.local"
        world.write(*SHOP, pod("d", "10.0.0.4", app="client"))
        assert await client.names() == [uid("d")]
        world.write(*SHOP[:2], SHOP[4])
        assert await client.names() == []
        assert sorted(client.removed) == [uid("b"), uid("c"), uid("d")]


async def test_a_label_changes_the_tunnel_protocol_of_running_pods(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        await client.receive()
        assert client.seen[uid("a")].workload.tunnel_protocol == pb.NONE
        world.write(ambient("shop"), *SHOP[1:])
        written = time.monotonic()
        assert await client.names() == [uid("a"), uid("b"), uid("c")]
        assert time.monotonic() - written < 1.0  # the agent has a second for all of an enrolment; 0.2 s is usual
        assert client.seen[uid("a")].workload.tunnel_protocol == pb.HBONE
        world.write(*SHOP)
        await client.receive()
        assert client.seen[uid("a")].workload.tunnel_protocol == pb.NONE


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (uid("c"), [uid("c")]),
        ("/10.0.0.3", [uid("c")]),
        (WEB, [uid("a"), uid("b"), WEB]),
        ("/10.96.0.1", [uid("a"), uid("b"), WEB]),
    ],
)
async def test_on_demand_finds_by_every_name(world: World, asked: str, answered: list[str]) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask(asked)
        assert await client.names() == answered
        assert client.removed == []


async def test_on_demand_says_at_once_what_does_not_exist_and_later_that_it_does(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask("/10.0.0.9", "/10.0.0.3")
        assert await client.names() == [uid("c")]
        assert client.removed == ["/10.0.0.9"]
        world.write(*SHOP, pod("other", "10.0.0.8"), pod("late", "10.0.0.9", app="client"))
        assert await client.names() == [uid("late")]
        world.write(*SHOP)
        assert await client.names() == []
        assert client.removed == ["/10.0.0.9", uid("late")]


async def test_a_service_brings_its_workloads_and_keeps_them_up_to_date(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask("/10.96.0.1")
        await client.receive()
        world.write(*SHOP[:2], pod("b", "10.0.0.2", ready=False), *SHOP[3:], pod("new", "10.0.0.5"))
        assert await client.names() == [uid("b"), uid("new")]
        assert client.seen[uid("b")].workload.status == pb.UNHEALTHY
        world.write(SHOP[0], pod("a", "10.0.0.1", app="gone"), *SHOP[3:])
        assert await client.names() == []
        assert sorted(client.removed) == [uid("a"), uid("b"), uid("new")]


async def test_wanting_nothing_is_answered_and_can_be_followed_by_names(world: World) -> None:
    """A node proxy of the ecosystem begins so: it subscribes to everything and unsubscribes in one breath."""
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask("*", drop=["*"])
        assert await client.names() == []
        await client.ask(uid("a"))
        assert await client.names() == [uid("a")]


async def test_what_is_asked_for_again_is_sent_again(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask(uid("a"), "/10.9.9.9")
        await client.receive()
        await client.ask(uid("a"), "/10.9.9.9", drop=["/10.0.0.1"])
        assert await client.names() == [uid("a")]
        assert client.removed == ["/10.9.9.9"]


async def test_a_reconnected_client_is_sent_only_what_changed(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        async with plane.stream() as client:
            await client.ask()
            await client.receive()
        async with plane.stream() as again:
            await again.ask(versions=client.versions)
            assert await again.names() == []
        world.write(*SHOP[:2], pod("b", "10.0.0.2", ready=False), SHOP[4])
        async with plane.stream() as watcher:
            await watcher.ask()
            await watcher.receive()
            while uid("c") in watcher.seen:
                await watcher.receive()
        async with plane.stream() as again:
            await again.ask(versions=client.versions)
            assert await again.names() == [uid("b")]
            assert again.removed == [uid("c")]


async def test_versions_outlive_a_restart(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        await client.receive()
    async with world.running() as plane, plane.stream() as again:
        await again.ask(versions=client.versions)
        assert await again.names() == []
        assert again.removed == []


async def test_one_response_is_under_way_and_changes_in_between_coalesce(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client, plane.stream() as watcher:
        await client.ask()
        await client.receive(ack=False)
        await watcher.ask()
        await watcher.receive()
        for number in range(3):
            world.write(*SHOP, pod(f"p{number}", f"10.0.1.{number}"))
            while uid(f"p{number}") not in watcher.seen:
                await watcher.receive()
        await client.acknowledge()
        assert await client.names() == [uid("p2")]


async def test_a_rejected_response_is_not_sent_again(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        await client.receive(ack=False)
        await client.acknowledge(error="no")
        world.write(*SHOP, pod("d", "10.0.0.4"))
        assert await client.names() == [uid("d")]


async def test_policies_are_answered_with_none(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask(kind=AUTHORIZATION_TYPE)
        response = await client.receive()
        assert (response.type_url, list(response.resources)) == (AUTHORIZATION_TYPE, [])
        await client.ask("shop/allow", kind=AUTHORIZATION_TYPE)
        await client.receive()
        assert client.removed == ["shop/allow"]


async def test_bad_manifests_leave_the_last_good_state(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        await client.receive()
        world.write_text("kind: [", file="broken.yaml")
        async with plane.stream() as fresh:
            await fresh.ask()
            assert len(await fresh.names()) == 4
        world.write(*SHOP, pod("d", "10.0.0.4"))
        (world.manifests / "broken.yaml").unlink()
        assert await client.names() == [uid("d")]


async def test_it_is_ready_when_there_is_a_snapshot_and_answers_nothing_before(world: World) -> None:
    world.write_text("kind: [")
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        assert await readiness(plane.readiness_port) == 503
        world.write(*SHOP)
        assert len(await client.names()) == 4
        assert await readiness(plane.readiness_port) == 200


async def readiness(port: int) -> int:
    def get() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/healthz/ready")
        return connection.getresponse().status

    return await asyncio.to_thread(get)


async def test_only_node_proxies_get_a_stream(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        for token in (
            "",
            "rubbish",
            world.token(lifetime_s=-5),
            world.token(aud="other"),
            world.token(key=ec.generate_private_key(ec.SECP256R1())),
        ):
            async with plane.stream(token) as client:
                assert await client.failure() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_ends_with_its_token(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream(world.token(lifetime_s=1.5)) as client:
        await client.ask()
        assert await client.failure() is grpc.StatusCode.UNAUTHENTICATED


async def test_too_many_types_end_the_stream(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        for number in range(17):
            await client.ask(kind=f"type.googleapis.com/unknown.{number}")
        assert await client.failure() is grpc.StatusCode.INVALID_ARGUMENT


async def test_of_a_node_s_streams_the_newest_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.node_streams.MOST", 2)
    world.write(*SHOP)
    async with world.running() as plane, AsyncExitStack() as open_streams:
        first, *others = [
            await opened(await open_streams.enter_async_context(plane.stream(world.token(node)))) for node in ("n1", "n2", "n1", "n1")
        ]
        assert await first.failure() is grpc.StatusCode.RESOURCE_EXHAUSTED
        world.write(*SHOP[:-1])
        for client in others:
            await client.receive()
            assert client.removed == [WEB]


async def opened(client: Client) -> Client:
    await client.ask()
    await client.receive()
    return client
