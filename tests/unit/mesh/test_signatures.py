"""Whose a certificate or a list is: name and signature must both fit."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.signatures import issued, signed_by
from tests.unit.controlplane.authorities import DAY, NOW, authority

ROOT, SAME_NAME, OTHER_NAME = authority("root"), authority("root"), authority("other")
SAME_KEY = authority("other", key=ROOT.key)


def test_a_certificate_is_its_issuer_s() -> None:
    below = authority("below", ROOT).certificate
    assert issued(below, ROOT.certificate)
    assert issued(ROOT.certificate, ROOT.certificate)
    assert not any(issued(below, one.certificate) for one in (SAME_NAME, OTHER_NAME, SAME_KEY))


def test_a_list_is_its_signer_s() -> None:
    revoked = x509.load_pem_x509_crl(ROOT.revokes(7))
    assert signed_by(revoked, ROOT.certificate)
    assert not any(signed_by(revoked, one.certificate) for one in (SAME_NAME, OTHER_NAME, SAME_KEY))


def test_a_list_that_was_changed_is_nobody_s() -> None:
    der = bytearray(x509.load_pem_x509_crl(ROOT.revokes(7)).public_bytes(Encoding.DER))
    # The end of the signature.
    der[-1] ^= 1
    assert not signed_by(x509.load_der_x509_crl(bytes(der)), ROOT.certificate)


def test_other_keys_than_ec_and_rsa_sign_nothing() -> None:
    edwards = ed25519.Ed25519PrivateKey.generate()
    name = ROOT.certificate.subject
    certificate = x509.CertificateBuilder(name, name, edwards.public_key(), 1, NOW - DAY, NOW + DAY).sign(edwards, None)
    assert not signed_by(x509.load_pem_x509_crl(ROOT.revokes(7)), certificate)
