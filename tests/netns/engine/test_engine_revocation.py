"""Revoked certificates, in both directions, before and in the middle of connections; and trust that changes under live ones."""

import asyncio
import contextlib
import socket
import ssl
from dataclasses import replace

import pytest

from mesh.errors import CredentialError
from tests.netns.engine import hbone, tls
from tests.netns.engine.certificates import EXPIRED, Authority, serial_number_of
from tests.netns.engine.hbone import HbonePeer
from tests.netns.engine.peers import Connection, poll
from tests.netns.engine.shell import Shell, always, to_authority
from tests.netns.engine.world import APP_PORT, CLIENT_ID, HBONE_PORT, INBOUND_REPORT, OUTBOUND_REPORT, SERVER_ID, World, tunnel_to
from ztunnel.engine.interface import Cause, Closed, Credentials, Miss, Opened, Refused

RAW_PORT = 15999
MANY = 100


class Ours:
    """An engine's own credentials, of which a test changes what its peers are measured by."""

    def __init__(self, shell: Shell, authority: Authority, identity: str) -> None:
        self._shell = shell
        self._identity = identity
        self._credentials = authority.issue(identity)

    def set(self, *, roots: bytes | None = None, revoked: bytes = b"") -> None:
        """The certificate stays."""
        self._credentials = replace(self._credentials, roots=roots or self._credentials.roots, revoked=revoked)
        self._shell.engine.set_credentials(self._identity, self._credentials)


class ServerNode:
    """An engine with the server's pod, whose application echoes, and the peers that call it from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
        self.ours = Ours(self.shell, world.authority, SERVER_ID)
        world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
        self.app = f"{world.ground.server.ipv4}:{APP_PORT}"

    async def tunnel(self, credentials: Credentials) -> HbonePeer:
        context = tls.client_context(self._world.authority.root, credentials)
        return await hbone.open_tunnel(self._world.peers, self._world.ground.outside, self._world.ground.server.ipv4, context)

    async def expect_served(self, credentials: Credentials) -> None:
        assert await (await self.tunnel(credentials)).connect(self.app).ask(b"me?") == b"me?"

    async def expect_refused(self, credentials: Credentials) -> None:
        """The peer gets no answer; there is no question and one notice."""
        misses, refusals = len(self.shell.all(Miss)), len(self.shell.all(Refused))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            peer = await self.tunnel(credentials)
            with contextlib.suppress(ssl.SSLError):
                peer.connect(self.app)
            await peer.until_closed()
            assert not any(":status" in stream.headers for stream in peer.streams.values())
        refused = (await self.shell.expect(Refused, refusals + 1))[refusals:]
        assert [notice.cause for notice in refused] == [Cause.CERTIFICATE_REVOKED]
        assert f"{serial_number_of(credentials):x}" in refused[0].detail
        assert len(self.shell.all(Miss)) == misses


class ClientNode:
    """An engine with the client's pod, and the peer outside that it is sent to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._listener = world.peers.listen(world.ground.outside, socket.AF_INET, RAW_PORT)
        self.shell = world.client_node(always(tunnel_to(world.ground.outside.ipv4, "10.97.0.4:80", port=RAW_PORT, peer_identities=())))
        self.ours = Ours(self.shell, world.authority, CLIENT_ID)

    async def connect(self) -> Connection:
        return await self._world.peers.connect(self._world.ground.client, self._world.ground.server.ipv4, APP_PORT)

    async def accept(self, credentials: Credentials) -> HbonePeer:
        """The peer, with these credentials, takes the tunnel that our engine opens."""
        context = tls.server_context(replace(credentials, roots=self._world.authority.root))
        return await hbone.accept_tunnel(self._world.peers, await self._listener.accept(), context)

    async def expect_refused(self, credentials: Credentials, cause: Cause) -> Closed:
        """The client gets a reset, the peer not a stream; there is one notice."""
        before = len(self.shell.all(Closed))
        client = await self.connect()
        await client.send(b"secret of the application")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            peer = await self.accept(credentials)
            await peer.until_closed()
            assert not peer.streams
        with contextlib.suppress(ConnectionResetError):
            await client.expect_reset()
        closed = (await self.shell.expect(Closed, before + 1))[before:]
        assert [(notice.cause, notice.opened) for notice in closed] == [(cause, False)]
        return closed[0]


async def test_a_revoked_client_is_refused_and_nobody_else(world: World) -> None:
    node = ServerNode(world)
    revoked, good = world.authority.issue(CLIENT_ID), world.authority.issue(CLIENT_ID)
    node.ours.set(revoked=world.authority.revoke(1, serial_number_of(revoked)))
    await node.expect_refused(revoked)
    await node.expect_served(good)
    await node.expect_refused(revoked)
    node.ours.set()
    await node.expect_served(revoked)


async def test_a_revoked_server_is_refused_and_nobody_else(world: World) -> None:
    node = ClientNode(world)
    revoked, good = world.authority.issue(SERVER_ID), world.authority.issue(SERVER_ID)
    node.ours.set(revoked=world.authority.revoke(1, serial_number_of(revoked)))
    closed = await node.expect_refused(revoked, Cause.CERTIFICATE_REVOKED)
    assert f"{serial_number_of(revoked):x}" in closed.detail
    client = await node.connect()
    stream = await (await node.accept(good)).accept()
    stream.answer(200)
    await client.send(b"hello")
    assert await stream.receive_exactly(5) == b"hello"


async def test_a_list_that_has_run_out_binds_and_disturbs_nobody(world: World) -> None:
    node = ServerNode(world)
    revoked = world.authority.issue(CLIENT_ID)
    node.ours.set(revoked=world.authority.revoke(serial_number_of(revoked), validity=EXPIRED))
    await node.expect_refused(revoked)
    await node.expect_served(world.authority.issue(CLIENT_ID))


async def test_peers_of_an_authority_without_a_list_are_not_checked(world: World) -> None:
    """Two roots of one name, as in a rotation; the number that one revokes is another's certificate under the other."""
    node = ServerNode(world)
    other = Authority()
    revoked = world.authority.issue(CLIENT_ID)
    namesake = other.issue(CLIENT_ID, serial=serial_number_of(revoked))
    node.ours.set(roots=world.authority.root + other.root, revoked=world.authority.revoke(serial_number_of(revoked)))
    await node.expect_refused(revoked)
    await node.expect_served(namesake)


@pytest.mark.parametrize("by", ["the intermediate", "the root"])
async def test_lists_of_intermediate_authorities(world: World, by: str) -> None:
    node = ServerNode(world)
    intermediate = Authority(world.authority)
    revoked, good = intermediate.issue(CLIENT_ID), world.authority.issue(CLIENT_ID)
    await node.expect_served(revoked)
    if by == "the intermediate":
        node.ours.set(revoked=intermediate.revoke(serial_number_of(revoked)))
        await node.expect_refused(revoked)
        await node.expect_served(intermediate.issue(CLIENT_ID))
    else:
        node.ours.set(revoked=world.authority.revoke(intermediate.certificate.serial_number))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await (await node.tunnel(revoked)).until_closed()
        assert [refused.cause for refused in await node.shell.expect(Refused)] == [Cause.CERTIFICATE_REVOKED]
    await node.expect_served(good)


async def test_lists_that_cannot_be_used_change_nothing(world: World) -> None:
    node = ServerNode(world)
    revoked = world.authority.issue(CLIENT_ID)
    node.ours.set(revoked=world.authority.revoke(serial_number_of(revoked)))
    good = world.authority.revoke(1)
    for bad in (b"no list", good[:-30], good + world.authority.root, world.authority.revoke(2, signer=Authority())):
        with pytest.raises(CredentialError):
            node.ours.set(revoked=bad)
    await node.expect_refused(revoked)
    await node.expect_served(world.authority.issue(CLIENT_ID))


async def test_a_client_that_is_revoked_in_the_middle_of_many_streams(world: World) -> None:
    node = ServerNode(world)
    credentials, good = world.authority.issue(CLIENT_ID), world.authority.issue(CLIENT_ID)
    revoked, other = await node.tunnel(credentials), await node.tunnel(good)
    streams = [revoked.connect(node.app) for _ in range(MANY)]
    others = other.connect(node.app)
    assert await asyncio.gather(*(stream.ask(b"?") for stream in (*streams, others))) == [b"?"] * (MANY + 1)
    for stream in streams:
        await stream.send(bytes(10_000))
    node.ours.set(revoked=world.authority.revoke(serial_number_of(credentials)))
    await revoked.until_closed()
    closed = await node.shell.expect(Closed, MANY)
    assert [(notice.cause, notice.opened) for notice in closed] == [(Cause.CERTIFICATE_REVOKED, True)] * MANY
    assert len({notice.connection for notice in closed}) == MANY
    assert f"{serial_number_of(credentials):x}" in closed[0].detail
    assert await others.ask(b"still") == b"still"
    assert (node.shell.engine.state().connections, node.shell.engine.state().tunnels) == (1, 1)
    await node.expect_refused(credentials)


async def test_a_server_that_is_revoked_in_the_middle_of_many_streams(world: World) -> None:
    """Also in a tunnel that is old already: our own certificate was rotated since."""
    node = ClientNode(world)
    credentials = world.authority.issue(SERVER_ID)
    clients, peers = [], []
    for _ in range(2):
        clients += [await node.connect() for _ in range(MANY)]
        peers.append(peer := await node.accept(credentials))
        for number in range(MANY):
            (await peer.accept(number + 1)).answer(200)
        await node.shell.expect(Opened, len(clients))
        node.ours = Ours(node.shell, world.authority, CLIENT_ID)
        node.ours.set()
    node.ours.set(revoked=world.authority.revoke(serial_number_of(credentials)))
    await asyncio.gather(*(client.expect_reset() for client in clients))
    closed = await node.shell.expect(Closed, 2 * MANY)
    assert [(notice.cause, notice.report) for notice in closed] == [(Cause.CERTIFICATE_REVOKED, OUTBOUND_REPORT)] * 2 * MANY
    for peer in peers:
        await peer.until_closed()
    assert node.shell.engine.state().tunnels == 0
    await node.expect_refused(credentials, Cause.CERTIFICATE_REVOKED)


async def test_a_peer_that_is_revoked_during_its_handshake(world: World) -> None:
    """The list comes between the first byte and the last."""
    node = ServerNode(world)
    credentials = world.authority.issue(CLIENT_ID)
    connection = await world.peers.connect(world.ground.outside, world.ground.server.ipv4, HBONE_PORT)
    await poll(lambda: node.shell.engine.state().tunnels == 1, "the tunnel that is being opened")
    node.ours.set(revoked=world.authority.revoke(serial_number_of(credentials)))
    context = tls.client_context(world.authority.root, credentials)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        reader, _ = await asyncio.open_connection(sock=connection.sock, ssl=context, server_hostname="")
        while await asyncio.wait_for(reader.read(65536), 10):
            pass
    assert (await node.shell.one(Refused)).cause is Cause.CERTIFICATE_REVOKED


async def test_new_lists_leave_live_connections_of_others_alone(world: World) -> None:
    way = world.way("tunnel")
    opening, accepting = Ours(way.opening, world.authority, CLIENT_ID), Ours(way.accepting, world.authority, SERVER_ID)
    for ours in (opening, accepting):
        ours.set()
    world.listen(way).serve_echo()
    client = await world.connect(way)
    for serials in ((), (1,), (1, 2), (1, 2)):
        assert await client.ask(b"?") == b"?"
        for ours in (opening, accepting):
            ours.set(revoked=world.authority.revoke(*serials))
    for ours in (opening, accepting):
        ours.set()
    assert await client.ask(b"!") == b"!"
    assert not way.opening.all(Closed)
    assert await (await world.connect(way)).ask(b"new") == b"new"


async def test_nothing_is_resumed(world: World) -> None:
    """A resumed session shows no certificate: who was revoked since would come back with it."""
    node = ServerNode(world)
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    reader, writer = await tls.open_tls(world.peers, world.ground.outside, world.ground.server.ipv4, HBONE_PORT, context)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
    assert await reader.readexactly(9), "the engine's first frame: tickets would have come before it"
    tls_object = writer.get_extra_info("ssl_object")
    assert not tls_object.session_reused
    assert tls_object.session is None or not tls_object.session.has_ticket
    await node.expect_served(world.authority.issue(CLIENT_ID))


async def test_root_rotation_under_a_live_inbound_tunnel(world: World) -> None:
    """Both roots, then the new one alone; our certificate is still the old root's."""
    node = ServerNode(world)
    new_root = Authority()
    old_peer = world.authority.issue(CLIENT_ID)
    stream = (await node.tunnel(old_peer)).connect(node.app)
    assert await stream.ask(b"one root") == b"one root"
    node.ours.set(roots=world.authority.root + new_root.root)
    for peer in (old_peer, new_root.issue(CLIENT_ID)):
        await node.expect_served(peer)
    node.ours.set(roots=new_root.root)
    await node.expect_served(new_root.issue(CLIENT_ID))
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await (await node.tunnel(old_peer)).until_closed()
    assert (await node.shell.one(Refused)).cause is Cause.TLS_FAILURE
    assert await stream.ask(b"still") == b"still"


async def test_root_rotation_under_a_live_outbound_tunnel(world: World) -> None:
    """New connections are measured by the new bundle, and do not slip into the tunnel that was made under the old one."""
    node = ClientNode(world)
    new_root = Authority()
    first = await node.connect()
    stream = await (await node.accept(world.authority.issue(SERVER_ID))).accept()
    stream.answer(200)
    node.ours.set(roots=new_root.root)
    await node.expect_refused(world.authority.issue(SERVER_ID), Cause.TLS_FAILURE)
    second = await node.connect()
    new_stream = await (await node.accept(new_root.issue(SERVER_ID))).accept()
    new_stream.answer(200)
    for client, end in ((first, stream), (second, new_stream)):
        await client.send(b"hello")
        assert await end.receive_exactly(5) == b"hello"
