"""One call to a CA over real TLS."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mesh.errors import CredentialError
from mesh.identity import Identity
from tests.unit.ztunnel import plane as planes
from ztunnel.certificates.authority import fetch_certificate

BUYER = Identity("cluster.local", "shop", "buyer")


async def test_the_identity_is_asked_for_on_behalf_of_the_pod(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        settings = replace(plane.settings, certificate_lifetime_s=20)
        certificate = await fetch_certificate(settings, BUYER, plane.trust)
        leaf = x509.load_pem_x509_certificate(certificate.credentials.certificate_chain)
        assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value[0].value == str(BUYER)
        (request,) = plane.authority.requests
        assert request.metadata["ImpersonatedIdentity"] == str(BUYER)
        assert request.validity_duration == 20
        assert plane.authority.tokens == ["Bearer first-token"]
        plane.token.write_text("second-token")
        await fetch_certificate(plane.settings, BUYER, plane.trust)
        assert plane.authority.tokens[1] == "Bearer second-token"


async def test_a_refusal_is_an_error_with_the_ca_s_words(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        plane.authority.refuses = Status.PERMISSION_DENIED
        with pytest.raises(GRPCError, match="no pod of it on this node"):
            await fetch_certificate(plane.settings, BUYER, plane.trust)


async def test_a_certificate_for_somebody_else_is_refused(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        names = [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/admin")]
        plane.authority.answer = lambda request: [plane.root.sign(x509.load_pem_x509_csr(request.csr.encode()).public_key(), *names)]
        with pytest.raises(CredentialError, match="sa/admin"):
            await fetch_certificate(plane.settings, BUYER, plane.trust)


async def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    async with planes.running(tmp_path) as plane:
        settings = plane.settings_for(1)
    with pytest.raises(OSError, match="refused"):
        await fetch_certificate(settings, BUYER, plane.trust)
