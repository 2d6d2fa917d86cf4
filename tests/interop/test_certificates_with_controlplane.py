"""ztunnel's certificates beside a real control plane: roots are replaced and certificates revoked while nodes hold theirs."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from cryptography import x509

from mesh.identity import Identity, parse_identity
from tests.unit.controlplane.authorities import Maker, authority, secret
from tests.unit.controlplane.world import IDENTITY, World, ambient, pod, utc_now
from tests.unit.ztunnel.certificates.once import fetch_once
from ztunnel.certificates.keeper import CertificateKeeper
from ztunnel.certificates.request import Certificate
from ztunnel.certificates.trust import issued
from ztunnel.certificates.trust_files import TrustFiles
from ztunnel.config import ControlPlaneSettings
from ztunnel.engine.interface import Credentials
from ztunnel.engine.python.credentials import make_contexts

WEB = parse_identity(IDENTITY)
# A second for each of the two that look at files once a second, and the rest for a busy machine.
PATIENCE_S = 20.0


class Authorities(World):
    """A control plane with the settings that the test gives it."""

    extra: dict[str, str]

    def settings(self) -> dict[str, str]:
        return {**super().settings(), **self.extra}

    def _channel(self, port: int) -> grpc.aio.Channel:
        self.port = port
        return super()._channel(port)

    def mount(self, files: dict[str, bytes]) -> None:
        directory = self.state.parent / "ca"
        directory.mkdir(exist_ok=True)
        for name, content in files.items():
            (directory / f".{name}").write_bytes(content)
            (directory / f".{name}").rename(directory / name)


class Node:
    """A node's keeper; where an engine would be it holds every pair of credentials against those of the other nodes."""

    def __init__(self, world: Authorities, peers: "list[Node]") -> None:
        token = world.state / "node-token"
        token.write_text(world.token())
        bundle, address = world.state / "bundle", ("127.0.0.1", world.port)
        self._settings = ControlPlaneSettings(address, address, "controlplane.ambient", bundle / "root-cert.pem", token, True)
        self.keeper = CertificateKeeper(self._fetch, self)
        self.trust = TrustFiles(bundle / "root-cert.pem", bundle / "ca-crl.pem", self.keeper.believe)
        self.credentials: Credentials | None = None
        self.changes = 0
        self.peers = peers
        peers.append(self)

    async def _fetch(self, identity: Identity) -> Certificate:
        return await fetch_once(self._settings, identity, self.trust.read)

    def set_credentials(self, identity: str, credentials: Credentials) -> None:
        make_contexts(credentials)
        self.credentials = credentials
        self.changes += 1
        for peer in self.peers:
            if peer.credentials is not None:
                shake_hands(self.credentials, peer.credentials)
                shake_hands(peer.credentials, self.credentials)

    def forget_credentials(self, identity: str) -> None:
        self.credentials = None

    def leaf(self) -> x509.Certificate:
        assert self.credentials is not None
        return x509.load_pem_x509_certificate(self.credentials.certificate_chain)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.05)


def shake_hands(of_client: Credentials, of_server: Credentials) -> None:
    """Goes through a handshake in memory. Raises ssl.SSLError when one end does not believe the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = make_contexts(of_client).client.wrap_bio(to_client, to_server)
    server = make_contexts(of_server).server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    client.write(b"x")
    assert server.read(1) == b"x"


@asynccontextmanager
async def nodes(world: Authorities, **extra: str) -> AsyncIterator[list[Node]]:
    world.extra = extra
    world.write(ambient("shop"), pod("web-1", "10.0.1.1"))
    peers: list[Node] = []
    async with world.running() as plane:
        await plane.ready()
        tasks = []
        for _ in range(2):
            node = Node(world, peers)
            node.keeper.keep(frozenset({WEB}))
            tasks += [asyncio.create_task(node.keeper.run()), asyncio.create_task(node.trust.run())]
            await node.keeper.wait(WEB, PATIENCE_S)
        try:
            yield peers
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


def signed_by(node: Node, issuer: x509.Certificate) -> bool:
    return issued(node.leaf(), issuer)


def test_an_owner_replaces_the_root_and_no_handshake_fails(tmp_path: Path) -> None:
    """Every change of a node's credentials is followed by handshakes with every other node; one that failed would end the keeper."""

    async def story() -> None:
        world = Authorities(tmp_path)
        old, new = authority("old", now=utc_now()), authority("new", now=utc_now())
        first, second = authority("first", old, now=utc_now()), authority("second", new, now=utc_now())
        world.mount(secret(first, old))
        async with nodes(world, CA_DIR=str(tmp_path / "ca"), CERT_MAX_LIFETIME_S="10") as peers:
            await step(world, peers, secret(first, old, new), first, both(old, new))
            await step(world, peers, secret(second, old, new), second, both(old, new))
            await step(world, peers, secret(second, new), second, new.pem)

    asyncio.run(asyncio.wait_for(story(), 4 * PATIENCE_S))


def both(old: Maker, new: Maker) -> bytes:
    return old.pem + new.pem


async def step(world: Authorities, peers: list[Node], files: dict[str, bytes], issuer: Maker, roots: bytes) -> None:
    """Changes the authority, and waits until every node has a certificate of this issuer and believes these roots."""
    world.mount(files)
    for node in peers:
        await node.until(lambda node=node: signed_by(node, issuer.certificate) and node.credentials.roots == roots)


def test_a_revoked_certificate_is_replaced_and_the_list_is_everywhere(tmp_path: Path) -> None:
    async def story() -> None:
        world = Authorities(tmp_path)
        async with nodes(world) as peers:
            revoked, kept = peers[0].leaf(), peers[1].leaf()
            (world.state / "revoked").write_text(f"{revoked.serial_number:x}\n")
            await peers[0].until(lambda: peers[0].leaf() != revoked)
            for node in peers:
                await node.until(lambda node=node: bool(node.credentials and node.credentials.revoked))
            assert peers[1].leaf() == kept, "nobody else is touched"

    asyncio.run(asyncio.wait_for(story(), 4 * PATIENCE_S))


def test_the_self_made_root_is_replaced_on_request(tmp_path: Path) -> None:
    """All stages, with the shortest of lives: 10 s for certificates, 2 s until all have acted."""

    async def story() -> None:
        world = Authorities(tmp_path)
        async with nodes(world, CERT_MAX_LIFETIME_S="10", ROOT_SPREAD_S="2") as peers:
            (old,) = bundle(world)
            (world.state / "rotate-root").touch()
            await peers[0].until(lambda: len(bundle(world)) == 2)
            new = bundle(world)[1]
            for node in peers:
                await node.until(lambda node=node: signed_by(node, new))
            await peers[0].until(lambda: bundle(world) == [new])
            for node in peers:
                await node.until(lambda node=node: old not in x509.load_pem_x509_certificates(node.credentials.roots))

    asyncio.run(asyncio.wait_for(story(), 4 * PATIENCE_S))


def bundle(world: Authorities) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((world.state / "bundle" / "root-cert.pem").read_bytes())
