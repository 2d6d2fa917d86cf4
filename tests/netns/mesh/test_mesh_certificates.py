"""Certificates that live 20 seconds, and a root that is replaced, under traffic that notices neither."""

import contextlib
import datetime as dt
import json
import os
import socket
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tests.netns.mesh.ground import ADMIN_PORT, Mesh, Place, mesh_of, until
from tests.netns.mesh.hbone_client import HBONE_PORT
from tests.netns.mesh.manifests import CLIENT, FAR, GUEST, MESH, NEAR, PLAIN, manifests
from tests.netns.mesh.traffic import Traffic

LIFETIME_S = 20
# How long the authority lets a new root get around: nodes look at the bundle every second or two.
SPREAD_S = 5
RATE = 40
# From one certificate to the next, and from one stage of a root's rotation to the next, on a busy machine.
TURN_S = 3.0 * (LIFETIME_S + SPREAD_S)


@pytest.fixture(scope="module")
def brief() -> Iterator[Mesh]:
    settings = {"CERT_LIFETIME_S": str(LIFETIME_S), "CERT_MAX_LIFETIME_S": str(LIFETIME_S), "ROOT_SPREAD_S": str(SPREAD_S)}
    with mesh_of(f"brief{os.getpid()}", manifests(MESH, GUEST, PLAIN), **settings) as mesh:
        yield mesh


def pairs(mesh: Mesh) -> Iterator[tuple[Place, Place]]:
    """Clients and servers of different identities: between two that have not met yet, both prove who they are now."""
    for asking, answering in ((MESH, GUEST), (GUEST, MESH), (GUEST, GUEST)):
        yield mesh.pod(asking, CLIENT), mesh.pod(answering, FAR)


@contextlib.contextmanager
def unharmed(mesh: Mesh) -> Iterator[None]:
    """New connections all the while, and two that are there from the beginning to the end: none fails."""
    client = mesh.pod(MESH, CLIENT)
    servers = [mesh.pod(MESH, name) for name in (FAR, NEAR)]
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(mesh.talk(client, server)) for server in servers]
        streams = [stack.enter_context(Traffic(client, server.address(socket.AF_INET), RATE)) for server in servers]
        yield
        for traffic in streams:
            traffic.wait_for(RATE)
        assert [talk.ask(b"still there?") for talk in old] == [b"still there?"] * len(old)
    assert [traffic.failed for traffic in streams] == [[], []]


def certificates(mesh: Mesh, node: str) -> dict[str, dict[str, str]]:
    """What a ztunnel says of the certificates that it has, by identity."""
    dump = json.loads(mesh.get(node, ADMIN_PORT, "/config_dump"))
    return {one["identity"]: one for one in dump["certificates"]}


def ended(certificate: dict[str, str]) -> bool:
    return dt.datetime.fromisoformat(certificate["not_after"]) < dt.datetime.now(dt.UTC)


def test_certificates_are_rotated_under_traffic(brief: Mesh):
    """Until the first ones have run out; who meets after that has never met before."""
    ends = [brief.pod(MESH, name) for name in (CLIENT, FAR)]

    def now() -> list[dict[str, str]]:
        return [certificates(brief, place.node)[place.identity] for place in ends]

    before = now()
    with unharmed(brief):
        until(lambda: all(map(ended, before)), "the certificates of both ends have run out", TURN_S)
        assert not any(map(ended, now()))
        for client, server in pairs(brief):
            with brief.talk(client, server) as fresh:
                assert fresh.ask(b"we have not met") == b"we have not met"


def bundle(mesh: Mesh) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((mesh.lab.layout.bundle / "root-cert.pem").read_bytes())


def certificate_of(client: Place, server: Place) -> x509.Certificate:
    """What a pod proves its identity with, as anybody sees it who asks for a tunnel."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(client.connect(server.addresses[0], HBONE_PORT)) as tunnel:
        certificate = tunnel.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate)


def signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, InvalidSignature):
        return False
    return True


def test_root_is_replaced_under_traffic(brief: Mesh):
    """Both are trusted, then the new one signs, then the old one is forgotten; who meets meanwhile trusts each other."""
    stranger = brief.pod(PLAIN, CLIENT)
    (old,) = bundle(brief)
    meetings = pairs(brief)

    def meet() -> None:
        client, server = next(meetings)
        with brief.talk(client, server) as fresh:
            assert fresh.ask(b"we have not met") == b"we have not met"

    with unharmed(brief):
        brief.lab.rotate_root()
        until(lambda: len(bundle(brief)) == 2, "both roots are trusted", TURN_S)
        (new,) = (root for root in bundle(brief) if root != old)
        meet()
        for name in (NEAR, FAR):
            server = brief.pod(MESH, name)
            until(
                lambda server=server: signed_by(certificate_of(stranger, server), new), f"{name} has a certificate of the new root", TURN_S
            )
        meet()
        until(lambda: bundle(brief) == [new], "the old root is forgotten", TURN_S)
        meet()
