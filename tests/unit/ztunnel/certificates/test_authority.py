"""One call to a CA over real TLS."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mesh.errors import CredentialError
from mesh.identity import Identity
from tests.unit.ztunnel import plane as planes
from tests.unit.ztunnel.certificates.once import fetch_once
from tests.unit.ztunnel.pki import Root
from ztunnel.certificates import authority as module
from ztunnel.certificates.authority import CertificateClient

BUYER = Identity("cluster.local", "shop", "buyer")


async def test_the_identity_is_asked_for_on_behalf_of_the_pod(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        settings = replace(plane.settings, certificate_lifetime_s=20)
        certificate = await fetch_once(settings, BUYER, plane.trust)
        leaf = x509.load_pem_x509_certificate(certificate.credentials.certificate_chain)
        assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value[0].value == str(BUYER)
        (request,) = plane.authority.requests
        assert request.metadata["ImpersonatedIdentity"] == str(BUYER)
        assert request.validity_duration == 20
        assert plane.authority.tokens == ["Bearer first-token"]
        plane.token.write_text("second-token")
        await fetch_once(plane.settings, BUYER, plane.trust)
        assert plane.authority.tokens[1] == "Bearer second-token"


async def test_a_refusal_is_an_error_with_the_ca_s_words(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        plane.authority.refuses = Status.PERMISSION_DENIED
        with pytest.raises(GRPCError, match="no pod of it on this node"):
            await fetch_once(plane.settings, BUYER, plane.trust)


async def test_a_certificate_for_somebody_else_is_refused(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        names = [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/admin")]
        plane.authority.answer = lambda request: [plane.root.sign(x509.load_pem_x509_csr(request.csr.encode()).public_key(), *names)]
        with pytest.raises(CredentialError, match="sa/admin"):
            await fetch_once(plane.settings, BUYER, plane.trust)


async def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        settings = plane.settings_for(1)
    with pytest.raises(OSError, match="refused"):
        await fetch_once(settings, BUYER, plane.trust)


async def test_a_burst_of_calls_shares_a_connection(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, CertificateClient(plane.settings, plane.trust) as client:
        await asyncio.gather(*(client.fetch(BUYER) for _ in range(4)))
        await client.fetch(BUYER)
        assert len(plane.authority.requests) == 5
        assert len(plane.authority.peers) == 1


async def test_an_idle_connection_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    async with planes.running(tmp_path) as plane, CertificateClient(plane.settings, plane.trust) as client:
        await client.fetch(BUYER)
        await asyncio.sleep(0.01)
        await client.fetch(BUYER)
        assert len(plane.authority.peers) == 2


async def test_after_a_failure_and_with_another_bundle_the_connection_is_another(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane, CertificateClient(plane.settings, lambda: trust) as client:
        trust = plane.trust()
        await client.fetch(BUYER)
        plane.authority.refuses = Status.UNAVAILABLE
        with pytest.raises(GRPCError):
            await client.fetch(BUYER)
        plane.authority.refuses = None
        await client.fetch(BUYER)
        assert len(plane.authority.peers) == 2
        trust = replace(trust, roots=trust.roots + Root().pem.encode())
        await client.fetch(BUYER)
        assert len(plane.authority.peers) == 3
