"""What a CA may answer: exactly the identity and the key that were asked for, valid, under our roots."""

import datetime as dt
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.errors import CredentialError
from mesh.identity import Identity
from tests.unit.ztunnel.pki import DAY, Root
from ztunnel.certificates.request import Certificate, SigningRequest, check_reply, make_request, printable_time
from ztunnel.certificates.trust import Trust

BUYER = Identity("cluster.local", "shop", "buyer")
ROOT = Root()


def check(request: SigningRequest, *chain: str, roots: str = ROOT.pem) -> Certificate:
    return check_reply(request, BUYER, list(chain), Trust(roots.encode(), b"lists"), time.time())


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def test_a_request_names_the_identity_and_nothing_else() -> None:
    csr = x509.load_pem_x509_csr(make_request(BUYER).csr.encode())
    assert csr.is_signature_valid
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [name.value for name in names.value] == ["spiffe://cluster.local/ns/shop/sa/buyer"]
    assert isinstance(csr.public_key(), ec.EllipticCurvePublicKey)
    assert csr.public_key().curve.name == "secp256r1"
    assert make_request(BUYER).csr != make_request(BUYER).csr, "every request has a key of its own"


def test_a_good_reply_becomes_credentials_without_the_root() -> None:
    request = make_request(BUYER)
    certificate = check(request, ROOT.sign_request(request.csr), ROOT.pem)
    presented = x509.load_pem_x509_certificates(certificate.credentials.certificate_chain)
    assert len(presented) == 1, "peers have the root"
    key = serialization.load_pem_private_key(certificate.credentials.private_key, None)
    assert presented[0].public_key() == key.public_key()
    assert (certificate.credentials.roots, certificate.credentials.revoked) == (ROOT.pem.encode(), b"lists")
    assert certificate.validity.not_after_s == (ROOT.now + DAY).timestamp()


def test_another_identity_is_refused() -> None:
    request = make_request(BUYER)
    for names in ([uri("spiffe://cluster.local/ns/shop/sa/thief")], [uri(str(BUYER)), x509.DNSName("web")], []):
        with pytest.raises(CredentialError, match=r"asked for|subject alternative name"):
            check(request, ROOT.sign(request.key.public_key(), *names))


def test_another_key_is_refused() -> None:
    with pytest.raises(CredentialError, match="another key"):
        check(make_request(BUYER), ROOT.sign_request(make_request(BUYER).csr))


def test_an_ended_certificate_is_refused() -> None:
    request = make_request(BUYER)
    with pytest.raises(CredentialError, match="ended at"):
        check(request, ROOT.sign_request(request.csr, ends=dt.timedelta(seconds=-1)))


def test_a_certificate_that_is_not_valid_yet_is_refused() -> None:
    request = make_request(BUYER)
    chain = [ROOT.sign_request(request.csr)]
    begins_s = x509.load_pem_x509_certificate(chain[0].encode()).not_valid_before_utc.timestamp()
    check_reply(request, BUYER, chain, Trust(ROOT.pem.encode(), b""), begins_s)
    with pytest.raises(CredentialError, match="begins at"):
        check_reply(request, BUYER, chain, Trust(ROOT.pem.encode(), b""), begins_s - 1)


def test_a_chain_to_a_foreign_root_is_refused() -> None:
    request = make_request(BUYER)
    foreign = Root()
    with pytest.raises(CredentialError, match="does not lead to the trust bundle"):
        check(request, foreign.sign_request(request.csr), foreign.pem)


def test_a_chain_with_something_else_in_it_is_refused() -> None:
    request = make_request(BUYER)
    leaf = ROOT.sign_request(request.csr)
    with pytest.raises(CredentialError, match="out of order"):
        check(request, leaf, ROOT.sign_request(make_request(BUYER).csr))


def test_any_root_of_the_bundle_will_do() -> None:
    request = make_request(BUYER)
    bundle = Root("old").pem + ROOT.pem
    assert check(request, ROOT.sign_request(request.csr), roots=bundle).credentials.roots == bundle.encode()


@pytest.mark.parametrize("chain", [[], ["nonsense"], ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"], [ROOT.pem] * 33])
def test_what_is_no_chain(chain: list[str]) -> None:
    with pytest.raises(CredentialError, match="the CA's reply"):
        check(make_request(BUYER), *chain)


def test_an_unreadable_bundle_is_told_apart() -> None:
    request = make_request(BUYER)
    with pytest.raises(CredentialError, match="trust bundle"):
        check(request, ROOT.sign_request(request.csr), roots="")


def test_times_are_printed_as_everywhere() -> None:
    assert printable_time(0) == "1970-01-01T00:00:00Z"
