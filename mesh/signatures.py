"""Whose a certificate or a revocation list is: the control plane asks before it hands one on, the nodes before they believe it."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

# What cryptography raises for a certificate or list that it cannot read.
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Says whether a certificate is in the name of an issuer, and has its signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def signed_by(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Says whether a list is in the name of an authority, and has its signature; no key but EC and RSA counts."""
    key = authority.public_key()
    if one.issuer != authority.subject or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return False
    try:
        return one.is_signature_valid(key)
    except UNREADABLE:
        return False
