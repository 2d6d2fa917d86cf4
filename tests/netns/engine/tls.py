"""TLS of the hostile and of the honest peers, by Python's ssl."""

import asyncio
import os
import ssl

from tests.netns.engine.ground import Pod
from tests.netns.engine.peers import WAIT_S, Connection, Peers
from ztunnel.engine.interface import Credentials

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def client_context(roots: bytes, credentials: Credentials | None) -> ssl.SSLContext:
    """What a peer connects with; without credentials it has no certificate to show."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, roots, credentials)


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """What a peer accepts with; it asks for a certificate."""
    return _context(ssl.PROTOCOL_TLS_SERVER, credentials.roots, credentials)


def _context(protocol: int, roots: bytes, credentials: Credentials | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=roots.decode())
    context.set_alpn_protocols(["h2"])
    if credentials:
        _load(context, credentials)
    return context


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    """The ssl module reads files only; this one is in memory."""
    fd = os.memfd_create("credentials")
    try:
        os.write(fd, credentials.private_key + credentials.certificate_chain)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


async def open_tls(peers: Peers, pod: Pod, address: str, port: int, context: ssl.SSLContext) -> Streams:
    """Raises: ssl.SSLError, OSError: the other side refuses. With TLS 1.3 a refused certificate may show only at the first read."""
    connection = await peers.connect(pod, address, port)
    return await _streams(peers, connection, context)


async def _streams(peers: Peers, connection: Connection, context: ssl.SSLContext) -> Streams:
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(sock=connection.sock, ssl=context, server_hostname="")
    peers.closing(writer.transport.abort)
    return reader, writer


async def accept_tls(peers: Peers, connection: Connection, context: ssl.SSLContext) -> Streams:
    """The server's side of a handshake on an accepted connection."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    async with asyncio.timeout(WAIT_S):
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection.sock, ssl=context)
    peers.closing(transport.abort)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
