"""Pods and engines come and go; every test of this directory ends by showing that nothing is left over (see world.py)."""

import contextlib
import errno
import os
import socket

import pytest

from tests.netns.engine.peers import poll
from tests.netns.engine.shell import always, endpoint
from tests.netns.engine.world import APP_PORT, CLIENT_ID, CLIENT_POD, OUTBOUND_REPORT, SERVER_POD, World
from ztunnel.engine.interface import Cause, Closed, Decision, Direct, Miss, Refused

LONG_S, SHORT_S = 30.0, 0.2
LEAVERS = pytest.mark.parametrize("leaver", ["client", "server"])


@LEAVERS
async def test_removed_pod_drains(world: World, leaver: str) -> None:
    """What is open goes on and ends by itself; nothing new comes in."""
    way = world.way("tunnel")
    world.listen(way).serve_echo()
    client = await world.connect(way)
    await client.ask(b"before")
    shell, pod = (way.opening, CLIENT_POD) if leaver == "client" else (way.accepting, SERVER_POD)
    shell.engine.remove_pod(pod, LONG_S)
    assert shell.engine.state().pods == 0
    assert await client.ask(b"after") == b"after"
    with pytest.raises(ConnectionError):
        await (await world.connect(way)).ask(b"new")
    client.close()
    await shell.until_idle()
    closed = (await shell.expect(Closed))[0]
    assert closed.cause == Cause.NONE
    await poll(lambda: shell.engine.state().tunnels == 0, "no tunnel")


async def test_what_was_connected_before_the_pod_left_is_carried(world: World) -> None:
    """The kernel has answered these clients, and nobody has accepted them yet."""
    way = world.way("tunnel")
    world.listen(way).serve_echo()
    first = await world.connect(way)
    await first.ask(b"decided")
    queued = [world.peers.connect_now(way.client, way.server.address(way.family), APP_PORT) for _ in range(100)]
    way.opening.engine.remove_pod(CLIENT_POD, LONG_S)
    for one in queued:
        assert await one.ask(b"carried") == b"carried"
        one.close()
    first.close()
    await way.opening.until_idle()


@LEAVERS
async def test_drain_has_an_end(world: World, leaver: str) -> None:
    way = world.way("tunnel")
    client, server = await world.connected(way)
    await client.send(b"?")
    await server.receive_exactly(1)
    shell, pod = (way.opening, CLIENT_POD) if leaver == "client" else (way.accepting, SERVER_POD)
    shell.engine.remove_pod(pod, SHORT_S)
    await client.expect_reset()
    await server.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.opened) == (Cause.DRAINED, True)


@LEAVERS
async def test_drain_between_pods_of_one_node(world: World, leaver: str) -> None:
    way = world.way("local")
    client, server = await world.connected(way)
    await client.send(b"?")
    await server.receive_exactly(1)
    way.opening.engine.remove_pod(CLIENT_POD if leaver == "client" else SERVER_POD, SHORT_S)
    await client.expect_reset()
    await server.expect_reset()
    assert {closed.cause for closed in await way.opening.expect(Closed, 2)} == {Cause.DRAINED}


async def test_local_action_for_a_pod_that_left(world: World) -> None:
    """The decision is older than the pod's departure."""
    way = world.way("local")
    world.listen(way).serve_echo()
    await (await world.connect(way)).ask(b"here")
    way.opening.engine.remove_pod(SERVER_POD, 0)
    with contextlib.suppress(ConnectionResetError):  # as fast as that
        await (await world.connect(way)).expect_reset()
    await way.opening.expect(Closed, 4)
    assert Cause.NO_UPSTREAM in {closed.cause for closed in way.opening.all(Closed)}


async def test_pod_comes_back(world: World) -> None:
    """A label off and on: the same number, the same namespace."""
    way = world.way("tunnel")
    world.listen(way).serve_echo()
    await (await world.connect(way)).ask(b"first time")
    for shell in way.shells:
        shell.engine.remove_pod(CLIENT_POD if shell is way.opening else SERVER_POD, 0)
    world.add_client_pod(way.opening)
    world.add_server_pod(way.accepting)
    assert await (await world.connect(way)).ask(b"second time") == b"second time"


async def test_other_pods_of_the_engine_are_not_touched(world: World) -> None:
    shell = world.client_node(always(Direct((world.ground.outside.ipv4, APP_PORT), False, OUTBOUND_REPORT)))
    world.add_second_pod(shell)
    world.peers.listen(world.ground.outside, socket.AF_INET, APP_PORT).serve_echo()
    client = await world.peers.connect(world.ground.second, world.ground.outside.ipv4, APP_PORT)
    await client.ask(b"before")
    shell.engine.remove_pod(CLIENT_POD, 0)
    assert await client.ask(b"after") == b"after"
    again = await world.peers.connect(world.ground.second, world.ground.outside.ipv4, APP_PORT)
    assert await again.ask(b"new") == b"new"


@pytest.mark.parametrize("port", [15001, 15006, 15008])
async def test_port_that_is_taken(world: World, port: int) -> None:
    """OSError; the namespace's descriptor and the other listeners are closed, and a second try succeeds once the port is free."""
    shell = world.shell()
    intruder = world.peers.listen(world.ground.client, socket.AF_INET, port)
    netns = world.ground.client.open_netns()
    with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
        shell.engine.add_pod(CLIENT_POD, netns, CLIENT_ID)
    with pytest.raises(OSError, match=f"Errno {errno.EBADF}"):
        os.fstat(netns)
    assert shell.engine.state().pods == 0
    intruder.sock.close()
    world.add_client_pod(shell)
    assert shell.engine.state().pods == 1


async def test_new_engine_beside_the_old(world: World) -> None:
    """An upgrade: the new one listens before the old one stops, and no new connection is refused."""
    old = world.client_node(always(Direct((world.ground.outside.ipv4, APP_PORT), False, OUTBOUND_REPORT)))
    world.peers.listen(world.ground.outside, socket.AF_INET, APP_PORT).serve_echo()
    alive = await world.peers.connect(world.ground.client, world.ground.outside.ipv4, APP_PORT)
    await alive.ask(b"by the old one")
    new = world.client_node(old.rule)
    old.engine.remove_pod(CLIENT_POD, LONG_S)
    for _ in range(20):
        client = await world.peers.connect(world.ground.client, world.ground.outside.ipv4, APP_PORT)
        assert await client.ask(b"by the new one") == b"by the new one"
    assert new.counters(OUTBOUND_REPORT).opened == 20
    assert await alive.ask(b"still by the old one") == b"still by the old one"


async def test_stop_ends_everything(world: World) -> None:
    way = world.way("tunnel")
    client, server = await world.connected(way)
    await client.send(b"?")
    await server.receive_exactly(1)
    await way.accepting.stop(SHORT_S)
    await client.expect_reset()
    await server.expect_reset()
    state = way.accepting.engine.state()
    assert (state.pods, state.connections, state.tunnels, state.buffered_bytes) == (0, 0, 0, 0)


async def test_stop_while_connections_wait_for_a_decision(world: World) -> None:
    shell = world.client_node(lambda flow: None)
    client = await world.peers.connect(world.ground.client, world.ground.outside.ipv4, APP_PORT)
    await shell.until(lambda: bool(shell.notices), "a miss")
    await shell.stop(0)
    await client.expect_reset()


async def test_reports_that_nobody_names_any_more(world: World) -> None:
    way = world.way("direct")
    world.listen(way).serve_echo()
    client = await world.connect(way)
    await client.ask(b"?")
    client.close()
    await way.opening.until_idle()
    assert way.opening.counters(OUTBOUND_REPORT).opened == 1
    way.opening.engine.forget_reports(frozenset({OUTBOUND_REPORT}))
    assert way.opening.engine.counters() == []


async def test_stopping_twice_is_stopping_once(world: World) -> None:
    shell = world.client_node(lambda flow: None)
    await shell.engine.stop(0)
    await shell.engine.stop(0)
    assert shell.engine.state().pods == 0


@pytest.mark.parametrize("port", [15001, 15006])
async def test_a_connection_to_the_meshs_own_port(world: World, port: int) -> None:
    """It was not captured and leads nowhere: above all not to the engine itself, for ever."""
    shell = world.client_node(lambda flow: Decision((Direct(endpoint(flow.destination), False, OUTBOUND_REPORT),)))
    # The reset may be there before the client learns that it was connected.
    with contextlib.suppress(ConnectionResetError):
        client = await world.peers.connect(world.ground.client, world.ground.client.ipv4, port)
        await client.expect_gone()
    refused = await shell.one(Refused)
    assert (refused.pod, refused.direction, refused.cause) == (CLIENT_POD, port, Cause.DENIED)
    assert not shell.all(Miss)
