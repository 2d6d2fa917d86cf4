"""TLS as the standard allows it and honest peers seldom use it: records that trickle, keys that change."""

import asyncio
import os
import socket
import ssl
import subprocess
from pathlib import Path

from tests.netns.engine import tls
from tests.netns.engine.peers import WAIT_S, poll
from tests.netns.engine.raw_http2 import PREFACE, connect_headers, frame
from tests.netns.engine.shell import to_authority
from tests.netns.engine.world import APP_PORT, CLIENT_ID, HBONE_PORT, INBOUND_REPORT, World

DATA, HEADERS, SETTINGS, END_HEADERS = 0, 1, 4, 4


def opening(world: World) -> bytes:
    """What a client says first, up to its CONNECT."""
    block = connect_headers(f"{world.ground.server.ipv4}:{APP_PORT}")
    return PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, block)


def trickle(sock: socket.socket, outgoing: ssl.MemoryBIO) -> None:
    """One byte a segment: TCP_NODELAY is on."""
    for byte in outgoing.read():
        sock.send(bytes([byte]))


def speak_byte_by_byte(sock: socket.socket, context: ssl.SSLContext, words: bytes) -> None:
    """A whole handshake and then `words`, byte by byte."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            session.do_handshake()
            break
        except ssl.SSLWantReadError:
            trickle(sock, outgoing)
            incoming.write(sock.recv(65_536))
    session.write(words)
    trickle(sock, outgoing)


async def test_records_that_come_byte_by_byte(world: World) -> None:
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    sock = world.ground.outside.socket(socket.AF_INET)
    world.peers.closing(sock.close)
    sock.settimeout(WAIT_S)
    sock.connect((world.ground.server.ipv4, HBONE_PORT))
    await asyncio.to_thread(speak_byte_by_byte, sock, context, opening(world) + frame(DATA, 0, 1, b"hello"))
    server = await listener.accept()
    assert await server.receive_exactly(5) == b"hello"


async def test_keys_that_change_in_the_middle(world: World, tmp_path: Path) -> None:
    """KeyUpdate (RFC 8446 section 4.6.3), asked of both sides: `K` of `openssl s_client`."""
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    client = start_s_client(world, tmp_path)
    world.peers.closing(client.kill)
    assert client.stdin is not None
    os.write(client.stdin.fileno(), opening(world))
    server = await listener.accept()
    for number in range(3):
        os.write(client.stdin.fileno(), b"K\n")
        await poll(lambda wanted=number + 1: said(tmp_path / "err", b"KEYUPDATE") == wanted, "a KeyUpdate")
        os.write(client.stdin.fileno(), frame(DATA, 0, 1, b"after"))
        assert await server.receive_exactly(5) == b"after"
        await server.send(b"under the new keys")
        await poll(lambda wanted=number + 1: said(tmp_path / "out", b"under the new keys") == wanted, "an answer")
    client.kill()
    client.wait()
    client.stdin.close()


def said(path: Path, words: bytes) -> int:
    return path.read_bytes().count(words)


def start_s_client(world: World, directory: Path) -> subprocess.Popen[bytes]:
    """Takes a line that begins with K, and comes by itself, for a command."""
    credentials = world.authority.issue(CLIENT_ID)
    for name, pem in (("cert", credentials.certificate_chain), ("key", credentials.private_key), ("root", credentials.roots)):
        (directory / name).write_bytes(pem)
    argv = f"openssl s_client -connect {world.ground.server.ipv4}:{HBONE_PORT} -alpn h2 -cert cert -key key -CAfile root"
    command = ["ip", "netns", "exec", world.ground.outside.netns, *argv.split()]
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=directory)
