"""Much at once: bytes, connections, and readers that do not read."""

import asyncio
import hashlib
import random
import resource
import socket

import pytest

from tests.netns.engine.peers import Connection
from tests.netns.engine.world import APP_PORT, World
from ztunnel.engine.interface import Closed, Engine, Opened

MIB = 1024 * 1024
# Standard input, output and error have these numbers for ever: no other is to be had.
NO_MORE_FILES = 3
# More than all buffers between two ends can hold, so that a reader that stops is felt at the other end.
MORE_THAN_BUFFERS = 256 * MIB


async def pour(connection: Connection, total: int, seed: int) -> str:
    """Sends `total` bytes that no compression or repetition can fake, ends, and returns their checksum."""
    block = memoryview(random.Random(seed).randbytes(MIB + 12_345))
    checksum, left = hashlib.sha256(), total
    while left:
        piece = block[: min(left, len(block))]
        checksum.update(piece)
        await connection.send(piece)
        left -= len(piece)
    connection.finish()
    return checksum.hexdigest()


async def drain(connection: Connection) -> str:
    """The checksum of everything that comes."""
    checksum = hashlib.sha256()
    while data := await connection.receive():
        checksum.update(data)
    return checksum.hexdigest()


@pytest.mark.parametrize("way_name", ["tunnel", "local", "direct", "plaintext"])
async def test_100_mib_both_ways_at_once(world: World, way_name: str) -> None:
    way = world.way(way_name)
    client, server = await world.connected(way)
    sent_up, sent_down, came_up, came_down = await asyncio.gather(
        pour(client, 100 * MIB, 1), pour(server, 100 * MIB, 2), drain(server), drain(client)
    )
    assert (came_up, came_down) == (sent_up, sent_down)
    for shell in way.shells:
        await shell.until_idle()
        assert {(closed.sent_bytes, closed.received_bytes) for closed in shell.all(Closed)} == {(100 * MIB, 100 * MIB)}


@pytest.mark.parametrize("way_name", ["tunnel", "local", "direct", "plaintext"])
async def test_1000_connections_at_a_time(world: World, way_name: str) -> None:
    way = world.way(way_name)
    world.listen(way).serve_echo()
    clients = await asyncio.gather(*(world.connect(way) for _ in range(1000)))
    questions = [f"{number:06}".encode() * 100 for number in range(1000)]
    assert await asyncio.gather(*(client.ask(question) for client, question in zip(clients, questions, strict=True))) == questions
    for shell in way.shells:
        assert shell.engine.state().connections == 1000
    for client in clients:
        client.close()
    for shell, report in {(way.opening, way.opening_report), (way.accepting, way.accepting_report)}:
        await shell.until_idle()
        counters = shell.counters(report)
        assert (counters.opened, counters.closed, counters.failed) == (1000, 1000, 0)


@pytest.mark.parametrize("way_name", ["tunnel", "local"])
async def test_many_short_connections(world: World, way_name: str) -> None:
    """Streams that come and go leave nothing behind in their tunnel."""
    way = world.way(way_name)
    world.listen(way).serve_echo()
    for _ in range(20):
        clients = await asyncio.gather(*(world.connect(way) for _ in range(50)))
        assert await asyncio.gather(*(client.ask(b"once") for client in clients)) == [b"once"] * 50
        for client in clients:
            client.close()
    for shell in way.shells:
        await shell.until_idle()


async def fill(connection: Connection) -> None:
    """Sends until nothing more is taken; never ends by itself."""
    block = bytes(MIB)
    for _ in range(MORE_THAN_BUFFERS // MIB):
        await connection.send(block)
    raise AssertionError(f"{MORE_THAN_BUFFERS} bytes were taken from a sender whose reader stopped: memory has no bound")


@pytest.mark.parametrize("stopped", ["server", "client"])
async def test_readers_that_stop_stall_nobody_else(world: World, stopped: str) -> None:
    """Twenty connections are stuck; those that come later, in the same tunnels, are not."""
    way = world.way("tunnel")
    listener = world.listen(way)
    for _ in range(20):
        client = await world.connect(way)
        server = await listener.accept()
        world.peers.run(fill(client if stopped == "server" else server))
    await settle(way.shells[0].engine, way.shells[1].engine)
    client = await world.connect(way)
    server = await listener.accept()
    sent_up, sent_down, came_up, came_down = await asyncio.gather(
        pour(client, 10 * MIB, 1), pour(server, 10 * MIB, 2), drain(server), drain(client)
    )
    assert (came_up, came_down) == (sent_up, sent_down)


async def settle(*engines: Engine) -> None:
    """Waits until no more bytes move: what is stuck, is."""
    before: list[int] = []
    while (now := [sum(counters.sent_bytes + counters.received_bytes for counters in engine.counters()) for engine in engines]) != before:
        before = now
        await asyncio.sleep(0.2)


async def test_a_reader_that_stops_and_goes_on_loses_nothing(world: World) -> None:
    way = world.way("tunnel")
    client, server = await world.connected(way)
    pouring = asyncio.ensure_future(pour(client, 64 * MIB, 1))
    await settle(way.opening.engine, way.accepting.engine)
    assert not pouring.done()
    assert await drain(server) == await pouring


async def test_small_receive_buffer(world: World) -> None:
    """A slow way to read: many partial writes towards the application."""
    way = world.way("tunnel")
    listener = world.listen(way)
    listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client = await world.connect(way)
    server = await listener.accept()
    sent, came = await asyncio.gather(pour(client, 4 * MIB, 1), drain(server))
    assert came == sent


async def test_no_descriptors_left(world: World) -> None:
    """Whoever comes then waits in the kernel's queue; what is open goes on, and when there are descriptors again so do they."""
    way = world.way("direct")
    world.listen(way).serve_echo()
    alive = await world.connect(way)
    await alive.ask(b"before")
    late = way.client.socket(way.family)
    world.peers.closing(late.close)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (NO_MORE_FILES, before[1]))
    try:
        await asyncio.get_running_loop().sock_connect(late, (way.server.address(way.family), APP_PORT))
        for _ in range(100):
            assert await alive.ask(b"meanwhile") == b"meanwhile"
        assert len(way.opening.all(Opened)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert await Connection(late).ask(b"after") == b"after"
