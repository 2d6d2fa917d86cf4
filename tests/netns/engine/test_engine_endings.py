"""Ends that must not cost a byte: what was sent before them arrives, however slowly it is read."""

import pytest

from tests.netns.engine.peers import Connection
from tests.netns.engine.shell import Shell
from tests.netns.engine.test_engine_statuses import raw_server
from tests.netns.engine.world import World
from ztunnel.engine.interface import Cause, Closed

NO_ERROR = 0
# Fits into a stream's first window, and not into what a client that does not read takes.
ANSWER = bytes(range(256)) * 800


async def answered_in_full(world: World) -> tuple[Connection, Shell]:
    """A peer has answered, ended its half, and asked to be sent no more (RFC 9113 section 8.1), as Envoy does when its application
    closes. The client has not read yet."""
    shell = world.client_node(lambda flow: None)
    peer, client, stream = await raw_server(world, shell)
    stream.answer(200)
    await client.send(b"?")
    await stream.receive_exactly(1)
    await stream.send(ANSWER, end=True)
    stream.reset(NO_ERROR)
    await peer.ping()
    return client, shell


async def test_an_answer_is_delivered_though_the_peer_wants_no_more(world: World) -> None:
    client, shell = await answered_in_full(world)
    assert await client.receive_all() == ANSWER
    client.close()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.received_bytes) == (Cause.NONE, len(ANSWER))


async def test_what_the_client_still_says_costs_it_nothing_of_the_answer(world: World) -> None:
    client, _ = await answered_in_full(world)
    await client.send(b"more")
    assert await client.receive_exactly(len(ANSWER)) == ANSWER


async def test_a_client_that_goes_on_sending_learns_that_nobody_listens(world: World) -> None:
    client, shell = await answered_in_full(world)
    assert await client.receive_all() == ANSWER
    await client.send(b"more")
    assert (await shell.one(Closed)).cause == Cause.SERVER_RESET
    with pytest.raises(ConnectionError):
        await client.send(b"and more")
