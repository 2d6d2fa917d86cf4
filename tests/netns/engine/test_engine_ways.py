"""A connection behaves as if nothing were between its ends, whichever way it goes."""

import socket

import pytest

from tests.netns.engine.peers import Connection
from tests.netns.engine.world import World
from ztunnel.engine.interface import Cause, Closed, Counters, Opened

WAYS = pytest.mark.parametrize("way_name", ["tunnel", "local", "direct", "plaintext"])
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
pytestmark = [WAYS, FAMILIES]


async def test_question_and_answer(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, server = await world.connected(way)
    await client.send(b"question")
    assert await server.receive_exactly(8) == b"question"
    await server.send(b"answer")
    assert await client.receive_exactly(6) == b"answer"


async def test_application_sees_the_clients_address(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    _, server = await world.connected(way)
    assert server.remote[0] == way.client.address(family)
    assert server.local == (way.server.address(family), 8080)


async def test_client_sees_the_address_that_it_asked_for(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, _ = await world.connected(way)
    assert client.remote == (way.server.address(family), 8080)


async def test_server_speaks_first(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    world.listen(way).serve_greeting(b"220 ready\r\n")
    client = await world.connect(way)
    assert await client.receive_exactly(11) == b"220 ready\r\n"


async def test_client_finishes_and_still_receives(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, server = await world.connected(way)
    await client.send(b"all I have")
    client.finish()
    assert await server.receive_all() == b"all I have"
    await server.send(b"late answer")
    server.finish()
    assert await client.receive_all() == b"late answer"
    for shell in way.shells:
        await shell.until_idle()


async def test_server_finishes_and_still_receives(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, server = await world.connected(way)
    await server.send(b"greeting")
    server.finish()
    assert await client.receive_all() == b"greeting"
    await client.send(b"late question")
    client.finish()
    assert await server.receive_all() == b"late question"
    for shell in way.shells:
        await shell.until_idle()


async def test_clients_reset_reaches_the_server(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, server = await world.connected(way)
    assert await client_was_heard(client, server)
    client.reset()
    await server.expect_reset()
    for shell in way.shells:
        await shell.until_idle()


async def test_servers_reset_reaches_the_client(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, server = await world.connected(way)
    assert await client_was_heard(client, server)
    server.reset()
    await client.expect_reset()
    for shell in way.shells:
        await shell.until_idle()


async def client_was_heard(client: Connection, server: Connection) -> bool:
    await client.send(b"?")
    return await server.receive_exactly(1) == b"?"


async def test_every_byte_is_counted(world: World, way_name: str, family: socket.AddressFamily) -> None:
    way = world.way(way_name, family)
    client, server = await world.connected(way)
    await client.send(b"x" * 70_000)
    await server.receive_exactly(70_000)
    await server.send(b"y" * 30_000)
    await client.receive_exactly(30_000)
    client.close()
    await server.receive_all()
    server.close()
    for shell, report in {(way.opening, way.opening_report), (way.accepting, way.accepting_report)}:
        closed = next(closed for closed in await shell.expect(Closed, len(shell.all(Opened))) if closed.report == report)
        assert (closed.sent_bytes, closed.received_bytes, closed.cause, closed.opened) == (70_000, 30_000, Cause.NONE, True)
        assert shell.counters(report) == Counters(report, opened=1, closed=1, failed=0, sent_bytes=70_000, received_bytes=30_000)
