"""Ends that must not cost a byte: what was sent before them arrives, however slowly it is read."""

import asyncio
import socket
import ssl

import pytest

from tests.netns.engine import tls
from tests.netns.engine.peers import WAIT_S, Connection
from tests.netns.engine.raw_http2 import PREFACE, connect_headers, frame
from tests.netns.engine.shell import Shell, to_authority
from tests.netns.engine.test_engine_statuses import raw_server
from tests.netns.engine.world import APP_PORT, CLIENT_ID, HBONE_PORT, INBOUND_REPORT, SERVER_POD, World
from ztunnel.engine.interface import Cause, Closed

NO_ERROR = 0
MAX_WINDOW = 2**31 - 1
# Kinds and flags of frames (RFC 9113 section 6).
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS = 1, 4
LONG_S = 30.0
# Fits into a stream's first window, and not into what a client that does not read takes.
ANSWER = bytes(range(256)) * 800
# Less than the kernel holds for a peer that does not read, so that we are done long before the peer is.
LAST_WORDS = bytes(300_000)


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


async def test_a_draining_tunnel_closes_when_its_peer_has_everything(world: World) -> None:
    """The last stream has ended, for us; the peer has read little of it, and still says things of its own."""
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    tunnel = await asyncio.to_thread(open_blocking_tunnel, world)
    window = (MAX_WINDOW - 65_535).to_bytes(4, "big")
    tunnel.sendall(PREFACE + frame(SETTINGS, 0, 0, b"\0\4" + MAX_WINDOW.to_bytes(4, "big")) + frame(WINDOW_UPDATE, 0, 0, window))
    tunnel.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 1, connect_headers(f"{world.ground.server.ipv4}:{APP_PORT}")))
    server = await listener.accept()
    shell.engine.remove_pod(SERVER_POD, LONG_S)
    await server.send(LAST_WORDS)
    server.close()
    await shell.one(Closed)
    tunnel.sendall(frame(PING, 0, 0, b"alive?!?"))
    assert await asyncio.to_thread(count_data, tunnel) == len(LAST_WORDS)


def open_blocking_tunnel(world: World) -> ssl.SSLSocket:
    """A tunnel that is read when the test reads it, and by nobody before."""
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    sock = world.ground.outside.socket(socket.AF_INET)
    world.peers.closing(sock.close)
    sock.settimeout(WAIT_S)
    sock.connect((world.ground.server.ipv4, HBONE_PORT))
    tunnel = context.wrap_socket(sock)
    world.peers.closing(tunnel.close)
    return tunnel


def count_data(tunnel: ssl.SSLSocket) -> int:
    """Reads to the end, and returns how many bytes of DATA there were."""
    data, total = bytearray(), 0
    while piece := tunnel.recv(65_536):
        data += piece
    while data:
        length, kind = int.from_bytes(data[:3], "big"), data[3]
        total += length if kind == DATA else 0
        del data[: 9 + length]
    return total
