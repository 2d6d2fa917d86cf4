"""CONNECT and its answers, and what the two ends make of them."""

import asyncio
import dataclasses
import socket

import pytest

from tests.netns.engine import hbone
from tests.netns.engine.hbone import HbonePeer, Stream
from tests.netns.engine.peers import Connection, Listener
from tests.netns.engine.shell import Shell, always, to_authority
from tests.netns.engine.tls import client_context, server_context
from tests.netns.engine.world import APP_PORT, CLIENT_ID, INBOUND_REPORT, OUTBOUND_REPORT, SERVER_ID, World, tunnel_to
from ztunnel.engine.interface import Cause, Closed, Decision, Miss, Opened, Refused, Reject

CONNECT_ERROR, CANCEL, NO_ERROR = 0xA, 0x8, 0x0
RAW_PORT = 15999


async def raw_client(world: World) -> HbonePeer:
    """A tunnel of a peer that we did not write into the server's pod."""
    context = client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    return await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)


async def raw_server(world: World, shell: Shell, listener: Listener | None = None) -> tuple[HbonePeer, Connection, Stream]:
    """Leads the client's connections to a peer that we did not write; returns it with the first of them and its stream."""
    listener = listener or raw_listener(world)
    shell.rule = lambda flow: Decision((tunnel_to(world.ground.outside.ipv4, flow.destination, port=RAW_PORT),))
    client = await captured_client(world)
    peer = await hbone.accept_tunnel(world.peers, await listener.accept(), server_context(world.authority.issue(SERVER_ID)))
    return peer, client, await peer.accept()


def raw_listener(world: World) -> Listener:
    return world.peers.listen(world.ground.outside, socket.AF_INET, RAW_PORT)


async def captured_client(world: World) -> Connection:
    return await world.peers.connect(world.ground.client, world.ground.server.ipv4, APP_PORT)


def application(world: World) -> str:
    return f"{world.ground.server.ipv4}:{APP_PORT}"


async def test_the_wire_of_a_tunnel(world: World) -> None:
    """What a peer that we did not write sees: method, authority and the action's headers, then bytes both ways."""
    shell = world.client_node(lambda flow: None)
    _, _, stream = await raw_server(world, shell)
    assert stream.headers[":method"] == "CONNECT"
    assert stream.headers[":authority"] == application(world)
    assert ":path" not in stream.headers
    assert ":scheme" not in stream.headers


async def test_headers_of_the_action_are_sent(world: World) -> None:
    listener = raw_listener(world)
    action = tunnel_to(world.ground.outside.ipv4, "service.example:80", port=RAW_PORT)
    headers = (("baggage", "k8s.namespace.name=default"), ("traceparent", "00-1-2-01"))
    world.client_node(always(dataclasses.replace(action, headers=headers)))
    client = await captured_client(world)
    peer = await hbone.accept_tunnel(world.peers, await listener.accept(), server_context(world.authority.issue(SERVER_ID)))
    stream = await peer.accept()
    forwarded = 'for="{}:{}"'.format(*client.local)
    assert stream.headers == {":method": "CONNECT", ":authority": "service.example:80", "forwarded": forwarded, **dict(headers)}


@pytest.mark.parametrize("status", [400, 401, 503])
async def test_connect_is_refused_with_the_status_of_the_decision(world: World, status: int) -> None:
    shell = world.server_node(always(Reject(status, Cause.DENIED, report=5)))
    peer = await raw_client(world)
    stream = peer.connect(application(world))
    assert await stream.status() == status
    await peer.until(lambda: stream.over, "the end of the stream")
    assert stream.reset_code in (None, NO_ERROR)
    closed = await shell.one(Closed)
    assert (closed.report, closed.cause, closed.opened, closed.peer) == (5, Cause.DENIED, False, CLIENT_ID)
    shell.engine.invalidate()
    shell.rule = to_authority(INBOUND_REPORT, keep_source=False)
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    after = peer.connect(application(world))
    assert await after.status() == 200, "one refused stream must not harm the next"
    assert await after.ask(b"and now?") == b"and now?"


@pytest.mark.parametrize("status", [400, 401, 403, 503])
async def test_refused_by_the_peer(world: World, status: int) -> None:
    """A reset for the client; the notice names the status. The tunnel serves others."""
    shell = world.client_node(lambda flow: None)
    peer, client, stream = await raw_server(world, shell)
    stream.answer(status, end=True)
    await client.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.report, closed.cause, closed.opened) == (OUTBOUND_REPORT, Cause.TUNNEL_REFUSED, False)
    assert str(status) in closed.detail
    assert shell.counters(OUTBOUND_REPORT).failed == 1
    other = await captured_client(world)
    await other.send(b"hello")
    assert await (await peer.accept(2)).receive_exactly(5) == b"hello"


async def test_application_port_closed(world: World) -> None:
    """503 to the peer, a reset for the client, and the reason on both sides."""
    way = world.way("tunnel")
    client = await world.connect(way)
    await client.expect_reset()
    outbound = await way.opening.one(Closed)
    assert (outbound.cause, outbound.opened, outbound.report) == (Cause.TUNNEL_REFUSED, False, OUTBOUND_REPORT)
    assert "503" in outbound.detail
    inbound = await way.accepting.one(Closed)
    assert (inbound.cause, inbound.opened, inbound.next_hop) == (Cause.CONNECT_REFUSED, False, application(world))
    assert not way.opening.all(Opened)
    assert not way.accepting.all(Opened)


@pytest.mark.parametrize("way_name", ["local", "direct", "plaintext"])
async def test_application_port_closed_on_other_ways(world: World, way_name: str) -> None:
    way = world.way(way_name)
    client = await world.connect(way)
    await client.expect_reset()
    closed = (await way.opening.expect(Closed))[0]
    assert (closed.cause, closed.opened) == (Cause.CONNECT_REFUSED, False)
    assert way.opening.counters(closed.report).failed == 1


async def test_no_tunnel_to_be_had(world: World) -> None:
    """Nobody listens on the next hop's port."""
    shell = world.client_node(always(tunnel_to(world.ground.outside.ipv4, "10.97.0.4:80", port=RAW_PORT)))
    client = await captured_client(world)
    await client.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.opened, closed.next_hop) == (Cause.CONNECT_REFUSED, False, f"{world.ground.outside.ipv4}:{RAW_PORT}")


async def test_the_peer_resets_a_stream(world: World) -> None:
    shell = world.client_node(lambda flow: None)
    _, client, stream = await raw_server(world, shell)
    stream.answer(200)
    await client.send(b"hello")
    await stream.receive_exactly(5)
    stream.reset(CONNECT_ERROR)
    await client.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.opened) == (Cause.SERVER_RESET, True)


async def test_a_reset_of_the_application_reaches_the_peer(world: World) -> None:
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    peer = await raw_client(world)
    stream = peer.connect(application(world))
    server = await listener.accept()
    assert await stream.status() == 200
    server.reset()
    assert await stream.expect_reset() in (CONNECT_ERROR, CANCEL)


async def test_a_reset_of_the_peer_reaches_the_application(world: World) -> None:
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    peer = await raw_client(world)
    stream = peer.connect(application(world))
    server = await listener.accept()
    assert await stream.status() == 200
    stream.reset(CANCEL)
    await server.expect_reset()
    assert (await shell.one(Closed)).cause == Cause.CLIENT_RESET


async def test_the_tunnel_dies_under_its_streams(world: World) -> None:
    """Both ends of every stream get a reset, with the reason; the next connection makes a new tunnel."""
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    peer = await raw_client(world)
    streams = [peer.connect(application(world)) for _ in range(3)]
    servers = [await listener.accept() for _ in streams]
    for stream in streams:
        assert await stream.status() == 200
    peer.close()
    for server in servers:
        await server.expect_reset()
    assert {closed.cause for closed in await shell.expect(Closed, 3)} == {Cause.H2_FAILURE}


async def test_goaway_of_the_peer_sends_the_next_elsewhere(world: World) -> None:
    """After GOAWAY no new stream goes there; those that live go on."""
    shell = world.client_node(lambda flow: None)
    listener = raw_listener(world)
    first, client, stream = await raw_server(world, shell, listener)
    stream.answer(200)
    await client.send(b"alive")
    await stream.receive_exactly(5)
    await send_goaway(first)
    _, other, new = await raw_server(world, shell, listener)
    await other.send(b"new")
    assert await new.receive_exactly(3) == b"new"
    await client.send(b"still")
    assert await stream.receive_exactly(5) == b"still"


async def send_goaway(peer: HbonePeer) -> None:
    """GOAWAY (RFC 9113 section 6.8) that promises to serve stream 1; a PING answered afterwards shows that it was read.

    Written by hand: the h2 library takes its own GOAWAY for the end of everything.
    """
    goaway = b"\0\0\x08\x07\0\0\0\0\0" + (1).to_bytes(4, "big") + NO_ERROR.to_bytes(4, "big")
    peer.write(goaway)
    await peer.ping()


async def test_early_data_is_delivered(world: World) -> None:
    """Bytes that come with the CONNECT, before its answer, reach the application first."""
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    peer = await raw_client(world)
    stream = peer.connect(application(world))
    await stream.send(b"early", end=True)
    server = await listener.accept()
    assert await server.receive_all() == b"early"
    await server.send(b"answer")
    server.close()
    assert await stream.receive_all() == b"answer"


async def test_stalled_stream_of_one_tunnel(world: World) -> None:
    """An application that does not read; another stream of the very same tunnel is served."""
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    stuck_listener = world.peers.listen(world.ground.server, socket.AF_INET, 8081)
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    peer = await raw_client(world)
    stuck = peer.connect(f"{world.ground.server.ipv4}:8081")
    await stuck_listener.accept()
    assert await stuck.status() == 200
    world.peers.run(stuck.send(bytes(64 * 1024 * 1024)))
    await peer.until(lambda: peer.h2.local_flow_control_window(stuck.number) == 0, "a full window")
    other = peer.connect(application(world))
    for _ in range(100):
        assert await other.ask(b"x" * 10_000) == b"x" * 10_000


async def test_peer_that_gives_no_window_back(world: World) -> None:
    """A peer that stops taking one stream; another stream of the same tunnel is served."""
    shell = world.client_node(lambda flow: None)
    peer, stuck, held = await raw_server(world, shell)
    held.hold = True
    held.answer(200)
    world.peers.run(stuck.send(bytes(64 * 1024 * 1024)))
    await peer.until(lambda: len(held.data) >= 65_535, "a full window")
    client = await captured_client(world)
    stream = await peer.accept(2)
    stream.answer(200)
    for _ in range(100):
        await client.send(b"x" * 10_000)
        assert await stream.receive_exactly(10_000) == b"x" * 10_000
    assert len(held.data) == 65_535, "more than the peer's window was sent"


async def test_waiting_streams_are_bounded(world: World) -> None:
    """A peer cannot make us keep any number of undecided streams; those that are kept get their decision."""
    shell = world.server_node(lambda flow: None)
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    tunnels = [await raw_client(world) for _ in range(60)]
    streams = [peer.connect(application(world)) for peer in tunnels for _ in range(200)]
    await shell.until(lambda: any(refused.cause == Cause.OVERLOADED for refused in shell.all(Refused)), "OVERLOADED")
    assert len(shell.all(Miss)) == 1
    shell.engine.decide(shell.all(Miss)[0].flow, Decision((Reject(401, Cause.DENIED, report=1),)))
    statuses = await asyncio.gather(*(stream.status() for stream in streams))
    assert set(statuses) == {401, 503}
