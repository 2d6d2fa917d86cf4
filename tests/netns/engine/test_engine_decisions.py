"""One question per flow; what the answer does."""

import asyncio
import socket

import pytest

from tests.netns.engine.peers import Connection
from tests.netns.engine.shell import Shell, always
from tests.netns.engine.world import APP_PORT, CLIENT_POD, INBOUND_REPORT, OUTBOUND_REPORT, SERVER_ID, SERVER_POD, World
from ztunnel.engine.interface import Cause, Closed, Decision, Direct, Direction, Flow, Miss, Opened, Refused, Reject

# How long an engine may let a connection wait for its decision; the ecosystem's bound for connecting, with room for a slow machine.
DECISION_TIMEOUT_BOUND_S = 30
TWO_PORTS = (8081, 8082)


def flows(shell: Shell) -> list[Flow]:
    return [miss.flow for miss in shell.all(Miss)]


async def test_the_flows_of_a_tunnel(world: World) -> None:
    """Each side is asked in its own words."""
    way = world.way("tunnel")
    client, _ = await world.connected(way)
    address = f"{world.ground.server.ipv4}:{APP_PORT}"
    assert flows(way.opening) == [Flow(CLIENT_POD, Direction.OUTBOUND, "", address, "")]
    client_id = "spiffe://cluster.local/ns/default/sa/client"
    assert flows(way.accepting) == [Flow(SERVER_POD, Direction.INBOUND_HBONE, world.ground.client.ipv4, address, client_id)]
    opened = await way.opening.one(Opened)
    assert (opened.report, opened.source) == (OUTBOUND_REPORT, "{}:{}".format(*client.local))
    assert (opened.next_hop, opened.peer) == (f"{world.ground.server.ipv4}:15008", SERVER_ID)
    opened = await way.accepting.one(Opened)
    assert (opened.report, opened.next_hop, opened.peer) == (INBOUND_REPORT, address, client_id)
    assert opened.source.startswith(f"{world.ground.client.ipv4}:")


async def test_the_flow_of_an_ipv6_connection(world: World) -> None:
    way = world.way("plaintext", socket.AF_INET6)
    await world.connected(way)
    source, destination = world.ground.outside.ipv6, f"[{world.ground.server.ipv6}]:{APP_PORT}"
    assert flows(way.opening) == [Flow(SERVER_POD, Direction.INBOUND_PLAINTEXT, source, destination, "")]
    opened = await way.opening.one(Opened)
    assert opened.next_hop == destination
    assert opened.source.startswith(f"[{source}]:")


async def test_asked_once_while_many_wait(world: World) -> None:
    way = world.way("direct")
    answer, way.opening.rule = way.opening.rule, lambda flow: None
    world.listen(way).serve_echo()
    clients = await asyncio.gather(*(world.connect(way) for _ in range(50)))
    [miss] = await way.opening.expect(Miss)
    decision = answer(miss.flow)
    assert decision is not None
    way.opening.engine.decide(miss.flow, decision)
    assert await asyncio.gather(*(client.ask(b"in?") for client in clients)) == [b"in?"] * 50
    later = await world.connect(way)
    await later.ask(b"and later?")
    assert len(way.opening.all(Miss)) == 1


async def test_asked_for_each_destination(world: World) -> None:
    way = world.way("direct")
    for port in TWO_PORTS:
        world.listen(way, port).serve_echo()
        await (await world.connect(way, port)).ask(b"?")
    assert [flow.destination for flow in flows(way.opening)] == [f"{world.ground.outside.ipv4}:{port}" for port in TWO_PORTS]


async def test_choices_are_taken_in_turn(world: World) -> None:
    way = world.way("direct")
    address = world.ground.outside.ipv4
    way.opening.rule = lambda flow: Decision(tuple(Direct((address, port), False, port) for port in TWO_PORTS))
    for port in TWO_PORTS:
        world.listen(way, port).serve_echo()
    for _ in range(10):
        await (await world.connect(way)).ask(b"?")
    assert {report: way.opening.counters(report).opened for report in TWO_PORTS} == dict.fromkeys(TWO_PORTS, 5)
    assert len(way.opening.all(Miss)) == 1


async def test_choices_are_taken_in_turn_by_those_that_waited(world: World) -> None:
    way = world.way("direct")
    way.opening.rule = lambda flow: None
    address = world.ground.outside.ipv4
    for port in TWO_PORTS:
        world.listen(way, port).serve_echo()
    clients = await asyncio.gather(*(world.connect(way) for _ in range(10)))
    [miss] = await way.opening.expect(Miss)
    way.opening.engine.decide(miss.flow, Decision(tuple(Direct((address, port), False, port) for port in TWO_PORTS)))
    await asyncio.gather(*(client.ask(b"?") for client in clients))
    assert {report: way.opening.counters(report).opened for report in TWO_PORTS} == dict.fromkeys(TWO_PORTS, 5)


async def test_not_cached_is_asked_again(world: World) -> None:
    way = world.way("direct")
    way.opening.rule = lambda flow: Decision((Direct((world.ground.outside.ipv4, APP_PORT), False, 1),), cache=False)
    world.listen(way).serve_echo()
    for _ in range(3):
        await (await world.connect(way)).ask(b"?")
    assert len(way.opening.all(Miss)) == 3
    assert way.opening.engine.state().flows == 0


async def test_invalidate_asks_again_and_connections_go_on(world: World) -> None:
    way = world.way("tunnel")
    world.listen(way).serve_echo()
    old = await world.connect(way)
    await old.ask(b"before")
    for shell in way.shells:
        assert shell.engine.state().flows == 1
        shell.rule = always(Reject(401, Cause.DENIED, report=9))
        shell.engine.invalidate()
        assert shell.engine.state().flows == 0
    await (await world.connect(way)).expect_reset()
    assert len(way.opening.all(Miss)) == 2
    assert await old.ask(b"after") == b"after"


async def test_rejected_in_plain(world: World) -> None:
    """A reset for the client, the given cause in the notice, counted as failed."""
    way = world.way("plaintext")
    way.opening.rule = always(Reject(401, Cause.DENIED, report=7))
    client = await world.connect(way)
    await client.expect_reset()
    closed = await way.opening.one(Closed)
    assert (closed.report, closed.cause, closed.opened, closed.source) == (7, Cause.DENIED, False, closed.source)
    assert closed.source.startswith(f"{world.ground.outside.ipv4}:")
    counters = way.opening.counters(7)
    assert (counters.opened, counters.closed, counters.failed) == (0, 0, 1)


async def test_without_keep_source_the_pod_itself_calls(world: World) -> None:
    way = world.way("plaintext")
    way.opening.rule = always(Direct((world.ground.server.ipv4, APP_PORT), False, INBOUND_REPORT))
    _, server = await world.connected(way)
    assert server.remote[0] == world.ground.server.ipv4


@pytest.mark.timeout(DECISION_TIMEOUT_BOUND_S + 30)
async def test_waiting_for_a_decision_ends(world: World) -> None:
    way = world.way("plaintext")
    way.opening.rule = lambda flow: None
    client = await world.connect(way)
    async with asyncio.timeout(DECISION_TIMEOUT_BOUND_S):
        await reset_at_last(client)
    refused = await way.opening.one(Refused)
    assert (refused.pod, refused.direction, refused.cause) == (SERVER_POD, Direction.INBOUND_PLAINTEXT, Cause.DECISION_TIMEOUT)
    assert refused.source.startswith(f"{world.ground.outside.ipv4}:")
    way.opening.rule = always(Direct((world.ground.server.ipv4, APP_PORT), True, INBOUND_REPORT))
    world.listen(way).serve_echo()
    assert await (await world.connect(way)).ask(b"now?") == b"now?"


async def reset_at_last(client: Connection) -> None:
    """Waits longer than one receive may."""
    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectionResetError):
        await loop.sock_recv(client.sock, 1)


async def test_decision_that_nobody_waits_for(world: World) -> None:
    """The client left; the answer that comes then is kept and harms nothing."""
    way = world.way("direct")
    answer, way.opening.rule = way.opening.rule, lambda flow: None
    client = await world.connect(way)
    [miss] = await way.opening.expect(Miss)
    client.reset()
    decision = answer(miss.flow)
    assert decision is not None
    way.opening.engine.decide(miss.flow, decision)
    world.listen(way).serve_echo()
    assert await (await world.connect(way)).ask(b"well?") == b"well?"
    assert len(way.opening.all(Miss)) == 1
