"""What is decided anew while it lives: the flows of live connections, and the end of those that may not go on."""

import asyncio
import gc
import tracemalloc

import pytest

from tests.netns.engine import hbone, tls
from tests.netns.engine.peers import Connection, poll
from tests.netns.engine.shell import Shell, always, endpoint
from tests.netns.engine.world import APP_PORT, CLIENT_ID, INBOUND_REPORT, Way, World, tunnel_to
from ztunnel.engine.interface import Cause, Closed, Decision, Direct, Direction, Flow, LiveFlow, Miss, Opened, Reject

OTHER_PORT = 8081
# On the bridge's network and nobody's: dialling it lasts until the test is over.
NOBODY = "10.97.0.200"
# What is left after a thousand connections: a deadline here and there. One object of each would be a thousand.
OBJECTS_LEFT = 100
# A tunnel remembers its last 512 streams, and serves 200 of them in a round.
ROUNDS = 5
DETAIL = "denied by policy default/nobody"
# A way, and which of its engines closes.
SIDES = pytest.mark.parametrize(
    ("way_name", "side"),
    [("tunnel", "opening"), ("tunnel", "accepting"), ("local", "opening"), ("direct", "opening"), ("plaintext", "opening")],
)


def the_shell(way: Way, side: str) -> Shell:
    return way.opening if side == "opening" else way.accepting


def close(shell: Shell, *flows: LiveFlow) -> None:
    shell.engine.close_flows(frozenset(flows), Cause.DENIED, DETAIL)


def flow_of(shell: Shell, destination: str) -> LiveFlow:
    [live] = [live for live in shell.engine.live_flows() if live.flow.destination == destination]
    return live


async def heard(client: Connection, server: Connection) -> None:
    await client.send(b"?")
    assert await server.receive_exactly(1) == b"?"


async def expect_denied(shell: Shell, reports: set[int], *, opened: bool = True) -> None:
    closed = [closed for closed in await shell.expect(Closed, len(reports)) if closed.cause is Cause.DENIED]
    assert {(closed.report, closed.opened, closed.detail) for closed in closed} == {(report, opened, DETAIL) for report in reports}
    assert len(closed) == len(reports)
    assert len({closed.connection for closed in closed}) == 1


@SIDES
async def test_each_live_flow_is_told_once(world: World, way_name: str, side: str) -> None:
    way = world.way(way_name)
    shell = the_shell(way, side)
    assert shell.engine.live_flows() == []
    for port in (APP_PORT, OTHER_PORT):
        world.listen(way, port).serve_echo()
    clients = [await world.connect(way, port) for port in (APP_PORT, APP_PORT, OTHER_PORT)]
    for client in clients:
        await client.ask(b"?")
    flows = shell.engine.live_flows()
    assert len(flows) == 2
    assert {live.flow for live in flows} == {miss.flow for miss in shell.all(Miss)}
    for live in flows:
        decision = shell.rule(live.flow)
        assert decision is not None
        assert decision.choices == (live.action,)
    shell.engine.invalidate()
    assert set(shell.engine.live_flows()) == set(flows), "what is cached is another matter than what lives"
    for client in clients:
        client.close()
    await shell.until_idle()
    assert shell.engine.live_flows() == []


async def test_who_waits_or_is_refused_is_not_live(world: World) -> None:
    way = world.way("tunnel")
    way.accepting.rule = lambda flow: None
    await world.connect(way)
    [waiting] = await way.accepting.expect(Miss)
    assert way.accepting.engine.live_flows() == []
    way.accepting.engine.decide(waiting.flow, Decision((Reject(401, Cause.DENIED, 7, DETAIL),)))
    assert way.accepting.engine.live_flows() == []
    assert (await way.accepting.one(Closed)).detail == DETAIL


@pytest.mark.parametrize("way_name", ["plaintext", "direct"])
async def test_the_detail_of_a_refusal_comes_back(world: World, way_name: str) -> None:
    way = world.way(way_name)
    way.opening.rule = always(Reject(401, Cause.DENIED, 7, DETAIL))
    await (await world.connect(way)).expect_reset()
    closed = await way.opening.one(Closed)
    assert (closed.report, closed.cause, closed.opened, closed.detail) == (7, Cause.DENIED, False, DETAIL)


@SIDES
async def test_a_closed_flow_ends_with_resets_and_its_neighbour_goes_on(world: World, way_name: str, side: str) -> None:
    way = world.way(way_name)
    shell = the_shell(way, side)
    world.listen(way, OTHER_PORT).serve_echo()
    neighbour = await world.connect(way, OTHER_PORT)
    await neighbour.ask(b"before")
    client, server = await world.connected(way)
    await heard(client, server)
    reports = {opened.report for opened in await shell.expect(Opened)}
    close(shell, flow_of(shell, f"{way.server.address(way.family)}:{APP_PORT}"))
    await client.expect_reset()
    await server.expect_reset()
    await expect_denied(shell, reports)
    assert await neighbour.ask(b"after") == b"after"
    assert [live.flow.destination for live in shell.engine.live_flows()] == [f"{way.server.address(way.family)}:{OTHER_PORT}"]


@SIDES
async def test_a_closed_flow_is_asked_for_again(world: World, way_name: str, side: str) -> None:
    way = world.way(way_name)
    shell = the_shell(way, side)
    world.listen(way).serve_echo()
    client = await world.connect(way)
    await client.ask(b"?")
    [live] = shell.engine.live_flows()
    shell.rule = always(Reject(401, Cause.DENIED, 9, DETAIL))
    close(shell, live)
    assert shell.engine.state().flows == 0
    await client.expect_reset()
    await (await world.connect(way)).expect_reset()
    assert [miss.flow for miss in shell.all(Miss)] == [live.flow, live.flow]


@SIDES
async def test_all_connections_of_a_flow_close(world: World, way_name: str, side: str) -> None:
    way = world.way(way_name)
    shell = the_shell(way, side)
    world.listen(way).serve_echo()
    clients = await asyncio.gather(*(world.connect(way) for _ in range(50)))
    await asyncio.gather(*(client.ask(b"?") for client in clients))
    close(shell, *shell.engine.live_flows())
    assert shell.engine.state().connections == 0
    await asyncio.gather(*(client.expect_reset() for client in clients))
    for report in {opened.report for opened in shell.all(Opened)}:
        assert len([closed for closed in shell.all(Closed) if (closed.report, closed.detail) == (report, DETAIL)]) == 50
        assert shell.counters(report).closed == 50


async def test_of_several_choices_of_a_flow_one_is_closed(world: World) -> None:
    way = world.way("direct")
    choices = tuple(Direct((way.server.address(way.family), port), False, port) for port in (APP_PORT, OTHER_PORT))
    way.opening.rule = lambda flow: Decision(choices)
    for port in (APP_PORT, OTHER_PORT):
        world.listen(way, port).serve_echo()
    first, second = [await world.connect(way) for _ in choices]
    for client in (first, second):
        await client.ask(b"?")
    close(way.opening, *(live for live in way.opening.engine.live_flows() if live.action == choices[0]))
    await first.expect_reset()
    assert await second.ask(b"still") == b"still"
    assert [live.action for live in way.opening.engine.live_flows()] == [choices[1]]


async def test_closing_twice_and_what_is_not_there(world: World) -> None:
    way = world.way("tunnel")
    world.listen(way).serve_echo()
    client = await world.connect(way)
    await client.ask(b"?")
    [live] = way.opening.engine.live_flows()
    unknown = live._replace(flow=Flow(999, Direction.OUTBOUND, "", "10.0.0.1:1", ""))
    another = live._replace(action=Direct((NOBODY, APP_PORT), False, 5))
    close(way.opening, unknown, another)
    way.opening.engine.close_flows(frozenset(), Cause.DENIED, DETAIL)
    assert await client.ask(b"still") == b"still"
    for _ in range(2):
        close(way.opening, live, unknown)
    await client.expect_reset()
    close(way.opening, live)
    assert (await way.opening.one(Closed)).detail == DETAIL


async def test_who_waits_for_a_decision_goes_on_waiting(world: World) -> None:
    way = world.way("tunnel")
    answers = [shell.rule for shell in way.shells]
    for shell in way.shells:
        shell.rule = lambda flow: None
    world.listen(way).serve_echo()
    client = await world.connect(way)
    for shell, answer in zip(way.shells, answers, strict=True):
        [miss] = await shell.expect(Miss)
        decision = answer(miss.flow)
        assert decision is not None
        close(shell, *(LiveFlow(miss.flow, choice) for choice in decision.choices))
        shell.engine.decide(miss.flow, decision)
    assert await client.ask(b"?") == b"?"
    assert not way.opening.all(Closed)


@pytest.mark.parametrize("kind", ["direct", "tunnel"])
async def test_a_connection_that_is_still_being_dialled(world: World, kind: str) -> None:
    action = Direct((NOBODY, APP_PORT), False, 5) if kind == "direct" else tunnel_to(NOBODY, f"{NOBODY}:{APP_PORT}")
    shell = world.client_node(always(action))
    client = await world.peers.connect(world.ground.client, NOBODY, APP_PORT)
    await poll(lambda: shell.engine.live_flows() != [], "a live flow")
    close(shell, *shell.engine.live_flows())
    await client.expect_reset()
    await expect_denied(shell, {action.report}, opened=False)


async def test_a_stream_that_is_still_being_dialled(world: World) -> None:
    shell = world.server_node(always(Direct((NOBODY, APP_PORT), False, INBOUND_REPORT)))
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    peer = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    stream = peer.connect(f"{world.ground.server.ipv4}:{APP_PORT}")
    await poll(lambda: shell.engine.live_flows() != [], "a live flow")
    close(shell, *shell.engine.live_flows())
    assert await stream.expect_reset() != 0
    await expect_denied(shell, {INBOUND_REPORT}, opened=False)
    await peer.ping()


@SIDES
async def test_closing_while_bytes_are_under_way_both_ways(world: World, way_name: str, side: str) -> None:
    """Both ends send and nobody reads: every buffer on the way is full, and afterwards none is kept."""
    way = world.way(way_name)
    shell = the_shell(way, side)
    client, server = await world.connected(way)
    await heard(client, server)
    senders = [asyncio.ensure_future(flood(end)) for end in (client, server)]
    await poll(lambda: all(other.engine.state().buffered_bytes > 0 for other in way.shells), "full buffers")
    world.listen(way, OTHER_PORT).serve_echo()
    neighbour = await world.connect(way, OTHER_PORT)
    await neighbour.ask(b"before")
    close(shell, flow_of(shell, f"{way.server.address(way.family)}:{APP_PORT}"))
    for error in await asyncio.gather(*senders, return_exceptions=True):
        assert isinstance(error, ConnectionResetError | BrokenPipeError), error
    assert await neighbour.ask(b"after") == b"after"
    neighbour.close()
    for other in way.shells:
        await other.until_idle()


async def flood(end: Connection) -> None:
    while True:
        await end.send(bytes(256 * 1024))


async def test_memory_returns(world: World) -> None:
    """Each round opens and closes a thousand connections; once tunnels remember as much as they may, no more is left behind."""
    way = world.way("tunnel")
    way.accepting.rule = lambda flow: Decision((Direct(endpoint(flow.destination), False, INBOUND_REPORT),))
    left = []
    tracemalloc.start()
    try:
        for number in range(ROUNDS):
            await one_round(world, way, APP_PORT + number)
            gc.collect()
            left.append(engine_objects())
    finally:
        tracemalloc.stop()
    assert left[-1] - left[-2] < OBJECTS_LEFT, left


def engine_objects() -> int:
    """How much the engine's own lines have allocated and not freed; counted, for a set keeps the room of its largest crowd."""
    return len(tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/ztunnel/*")]).traces)


async def one_round(world: World, way: Way, port: int) -> None:
    listener = world.listen(way, port)
    pairs = []
    for _ in range(1000):
        client = await world.connect(way, port)
        pairs.append((client, await listener.accept()))
    close(way.accepting, *way.accepting.engine.live_flows())
    assert way.accepting.engine.live_flows() == []
    for client, server in pairs:
        await client.expect_reset()
        server.close()
        client.close()
    for shell in way.shells:
        await shell.until_idle()
        assert shell.engine.live_flows() == []
        shell.notices.clear()
