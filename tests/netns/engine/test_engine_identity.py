"""Who may speak with whom: certificates, their absence, their change."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from mesh.errors import CredentialError
from tests.netns.engine import hbone, tls
from tests.netns.engine.certificates import EXPIRED, NOT_YET_VALID, Authority, serial_number, serial_number_of
from tests.netns.engine.shell import Shell, always, to_authority
from tests.netns.engine.world import APP_PORT, CLIENT_ID, HBONE_PORT, INBOUND_REPORT, SERVER_ID, SERVER_POD, World, tunnel_to
from ztunnel.engine.interface import Cause, Closed, Credentials, Decision, Direction, Miss, Refused, Reject

FOREIGN_ID = "spiffe://elsewhere.example/ns/default/sa/client"
RAW_PORT = 15999


def client_credentials(kind: str, authority: Authority) -> Credentials | None:
    """What a peer might show instead of a good certificate."""
    match kind:
        case "none":
            return None
        case "expired":
            return authority.issue(CLIENT_ID, validity=EXPIRED)
        case "not yet valid":
            return authority.issue(CLIENT_ID, validity=NOT_YET_VALID)
        case "other root":
            return Authority().issue(FOREIGN_ID)
        case "no name":
            return authority.issue()
        case "two names":
            return authority.issue(CLIENT_ID, SERVER_ID)
        case _:
            return authority.issue("https://cluster.local/ns/default/sa/client")


async def expect_refused_tls(world: World, context: ssl.SSLContext) -> None:
    """Opens a tunnel into the server's pod; it must end before anything is carried."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        reader, writer = await tls.open_tls(world.peers, world.ground.outside, world.ground.server.ipv4, HBONE_PORT, context)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        while await asyncio.wait_for(reader.read(65536), 10):
            pass


async def expect_refused_notice(shell: Shell) -> Refused:
    refused = await shell.one(Refused)
    assert (refused.pod, refused.direction, refused.cause) == (SERVER_POD, Direction.INBOUND_HBONE, Cause.TLS_FAILURE)
    assert refused.detail
    assert not shell.all(Miss)
    return refused


async def expect_still_serving(world: World) -> None:
    """A good peer gets through."""
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    peer = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    assert await peer.connect(f"{world.ground.server.ipv4}:{APP_PORT}").ask(b"me?") == b"me?"


BAD_PEERS = ["none", "expired", "not yet valid", "other root", "no name", "two names", "no SPIFFE name"]


@pytest.mark.parametrize("kind", BAD_PEERS)
async def test_peer_that_proves_nothing(world: World, kind: str) -> None:
    shell = world.server_node()
    await expect_refused_tls(world, tls.client_context(world.authority.root, client_credentials(kind, world.authority)))
    refused = await expect_refused_notice(shell)
    assert refused.source.startswith(f"{world.ground.outside.ipv4}:")
    await expect_still_serving(world)


async def test_tls_1_2(world: World) -> None:
    shell = world.server_node()
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    await expect_refused_tls(world, context)
    await expect_refused_notice(shell)
    await expect_still_serving(world)


async def test_no_alpn(world: World) -> None:
    shell = world.server_node()
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    context.set_alpn_protocols(["http/1.1"])
    await expect_refused_tls(world, context)
    await expect_refused_notice(shell)
    await expect_still_serving(world)


# As many as an engine bears with; it may be fewer, not more.
SILENT_PEERS = 256
NO_TLS = {"http": b"GET / HTTP/1.1\r\nHost: server\r\n\r\n", "zeros": bytes(100), "garbage": b"\x16\x03\x01\xff\xff" + b"\xff" * 100}


@pytest.mark.parametrize("kind", NO_TLS)
async def test_no_tls_at_all(world: World, kind: str) -> None:
    said = NO_TLS[kind]
    shell = world.server_node()
    client = await world.peers.connect(world.ground.outside, world.ground.server.ipv4, HBONE_PORT)
    await client.send(said)
    await client.expect_gone()
    await expect_refused_notice(shell)
    await expect_still_serving(world)


async def test_peer_that_leaves_in_the_handshake(world: World) -> None:
    shell = world.server_node()
    client = await world.peers.connect(world.ground.outside, world.ground.server.ipv4, HBONE_PORT)
    client.reset()
    await expect_still_serving(world)
    assert {refused.cause for refused in shell.all(Refused)} <= {Cause.TLS_FAILURE}


async def test_silent_peers_of_one_pod_are_bounded_and_shut_out_nobody_elses(world: World) -> None:
    """Who connects and says nothing costs memory until the time is up; so many may, and the next is refused at once."""
    shell = world.server_node()
    world.add_second_pod(shell)
    for _ in range(SILENT_PEERS):
        await world.peers.connect(world.ground.outside, world.ground.server.ipv4, HBONE_PORT)
    # The reset may be there before the client learns that it was connected.
    with contextlib.suppress(ConnectionResetError):
        late = await world.peers.connect(world.ground.outside, world.ground.server.ipv4, HBONE_PORT)
        await late.expect_gone()
    assert (await shell.expect(Refused))[0].cause is Cause.OVERLOADED
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    peer = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.second.ipv4, context)
    await peer.ping()


async def test_foreign_trust_domain_under_our_root_is_named_to_the_decision(world: World) -> None:
    """The engine knows no trust domain; whoever decides does, and is told who asks."""
    shell = world.server_node(lambda flow: Decision((Reject(401, Cause.DENIED, report=4),)) if flow.peer == FOREIGN_ID else None)
    context = tls.client_context(world.authority.root, world.authority.issue(FOREIGN_ID))
    peer = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    assert await peer.connect(f"{world.ground.server.ipv4}:{APP_PORT}").status() == 401
    closed = await shell.one(Closed)
    assert (closed.peer, closed.cause) == (FOREIGN_ID, Cause.DENIED)


@pytest.mark.parametrize("kind", BAD_PEERS[1:])
async def test_server_that_proves_nothing(world: World, kind: str) -> None:
    """Towards us as a client: no byte of the application leaves, and the client gets a reset."""
    await expect_no_tunnel(world, client_credentials(kind, world.authority), peer_identities=())


async def test_server_that_is_somebody_else(world: World) -> None:
    closed = await expect_no_tunnel(world, world.authority.issue(SERVER_ID + "-2"), peer_identities=(SERVER_ID,))
    assert SERVER_ID in closed.detail


async def expect_no_tunnel(world: World, credentials: Credentials | None, peer_identities: tuple[str, ...]) -> Closed:
    assert credentials is not None
    listener = world.peers.listen(world.ground.outside, socket.AF_INET, RAW_PORT)
    shell = world.client_node(always(tunnel_to(world.ground.outside.ipv4, "10.97.0.4:80", port=RAW_PORT, peer_identities=peer_identities)))
    client = await world.peers.connect(world.ground.client, world.ground.server.ipv4, APP_PORT)
    await client.send(b"secret of the application")
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        peer = await hbone.accept_tunnel(world.peers, await listener.accept(), tls.server_context(credentials))
        await peer.until_closed()
        assert not peer.streams, "a stream was opened to a peer that is not the right one"
    with contextlib.suppress(ConnectionResetError):
        await client.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.opened) == (Cause.TLS_FAILURE, False)
    return closed


async def test_one_of_several_peer_identities(world: World) -> None:
    way = world.way("tunnel")
    action = tunnel_to(world.ground.server.ipv4, f"{world.ground.server.ipv4}:{APP_PORT}", peer_identities=(SERVER_ID + "-2", SERVER_ID))
    way.opening.rule = always(action)
    world.listen(way).serve_echo()
    assert await (await world.connect(way)).ask(b"?") == b"?"


async def test_server_refuses_this_client_after_its_own_handshake(world: World) -> None:
    """With TLS 1.3 the client's certificate is refused after the client is done: the connection still ends with the reason."""
    other_root = Authority()
    listener = world.peers.listen(world.ground.outside, socket.AF_INET, RAW_PORT)
    shell = world.client_node(always(tunnel_to(world.ground.outside.ipv4, "10.97.0.4:80", port=RAW_PORT)))
    ours = world.authority.issue(SERVER_ID)
    context = tls.server_context(Credentials(ours.certificate_chain, ours.private_key, other_root.root))
    client = await world.peers.connect(world.ground.client, world.ground.server.ipv4, APP_PORT)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await hbone.accept_tunnel(world.peers, await listener.accept(), context)
    await client.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.opened) in {(Cause.TLS_FAILURE, False), (Cause.H2_FAILURE, False)}
    assert closed.detail


async def test_rotated_credentials_prove_new_inbound_tunnels(world: World) -> None:
    """The new certificate is shown to those who come; tunnels that exist go on."""
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    old = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    stream = old.connect(f"{world.ground.server.ipv4}:{APP_PORT}")
    assert await stream.ask(b"old") == b"old"
    rotated = world.authority.issue(SERVER_ID)
    shell.engine.set_credentials(SERVER_ID, rotated)
    new = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    assert serial_number(new.certificate_der) == serial_number_of(rotated) != serial_number(old.certificate_der)
    assert await stream.ask(b"still") == b"still"


async def test_rotated_credentials_prove_new_outbound_tunnels(world: World) -> None:
    """Connections that are made after the rotation go in a tunnel that proves the new certificate; the old one goes on."""
    listener = world.peers.listen(world.ground.outside, socket.AF_INET, RAW_PORT)
    shell = world.client_node(always(tunnel_to(world.ground.outside.ipv4, "10.97.0.4:80", port=RAW_PORT)))
    context = tls.server_context(world.authority.issue(SERVER_ID))
    first = await world.peers.connect(world.ground.client, world.ground.server.ipv4, APP_PORT)
    old = await hbone.accept_tunnel(world.peers, await listener.accept(), context)
    rotated = world.authority.issue(CLIENT_ID)
    shell.engine.set_credentials(CLIENT_ID, rotated)
    await world.peers.connect(world.ground.client, world.ground.server.ipv4, APP_PORT)
    new = await hbone.accept_tunnel(world.peers, await listener.accept(), context)
    await new.accept()
    assert serial_number(new.certificate_der) == serial_number_of(rotated) != serial_number(old.certificate_der)
    stream = await old.accept()
    stream.answer(200)
    await first.send(b"still")
    assert await stream.receive_exactly(5) == b"still"


async def test_rotated_roots(world: World) -> None:
    """A peer of the new root is believed once the bundle holds it."""
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    new_root = Authority()
    context = tls.client_context(world.authority.root, new_root.issue(CLIENT_ID))
    await expect_refused_tls(world, context)
    await expect_refused_notice(shell)
    fresh = world.authority.issue(SERVER_ID)
    shell.engine.set_credentials(SERVER_ID, Credentials(fresh.certificate_chain, fresh.private_key, fresh.roots + new_root.root))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    peer = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    assert await peer.connect(f"{world.ground.server.ipv4}:{APP_PORT}").ask(b"?") == b"?"


async def test_credentials_that_do_not_fit_together_change_nothing(world: World) -> None:
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    one, other = world.authority.issue(SERVER_ID), world.authority.issue(SERVER_ID)
    for bad in (
        Credentials(one.certificate_chain, other.private_key, one.roots),
        Credentials(b"no certificate", one.private_key, one.roots),
        Credentials(one.certificate_chain, b"no key", one.roots),
        Credentials(one.certificate_chain, one.private_key, b"no roots"),
    ):
        with pytest.raises(CredentialError):
            shell.engine.set_credentials(SERVER_ID, bad)
    await expect_still_serving(world)


async def test_hbone_waits_for_credentials(world: World) -> None:
    """A pod is captured before its certificate comes; a tunnel that is opened meanwhile is served when it has come."""
    shell = world.shell(to_authority(INBOUND_REPORT, keep_source=False))
    shell.engine.add_pod(SERVER_POD, world.ground.server.open_netns(), SERVER_ID)
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    opening = asyncio.ensure_future(hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context))
    plain = await world.peers.connect(world.ground.outside, world.ground.server.ipv4, APP_PORT)
    assert await plain.ask(b"plain") == b"plain"
    assert not opening.done()
    shell.engine.set_credentials(SERVER_ID, world.authority.issue(SERVER_ID))
    peer = await opening
    assert await peer.connect(f"{world.ground.server.ipv4}:{APP_PORT}").ask(b"?") == b"?"


async def test_forgotten_credentials_prove_nothing_more(world: World) -> None:
    shell = world.client_node(always(tunnel_to(world.ground.outside.ipv4, "10.97.0.4:80", port=RAW_PORT)))
    listener = world.peers.listen(world.ground.outside, socket.AF_INET, RAW_PORT)
    shell.engine.forget_credentials(CLIENT_ID)
    client = await world.peers.connect(world.ground.client, world.ground.server.ipv4, APP_PORT)
    world.peers.closing(listener.sock.close)
    await client.expect_reset()
    closed = await shell.one(Closed)
    assert (closed.cause, closed.opened) == (Cause.TLS_FAILURE, False)
