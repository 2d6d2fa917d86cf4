"""The certificate authority: its root, and the certificates that it signs. No I/O; time comes in as an argument."""

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.errors import CredentialError
from mesh.identity import Identity

# A root is replaced by hand, and everything trusts it: long enough not to be met by surprise.
ROOT_LIFETIME = dt.timedelta(days=3650)
# A stolen workload key is of use for a day at most. Source: design, "Identity and policy".
MAX_WORKLOAD_LIFETIME = dt.timedelta(hours=24)
# Clocks of two nodes may differ a little.
BACKDATED = dt.timedelta(minutes=1)
# A P-256 request has some 500 bytes; this is before anything is parsed.
MAX_CSR_LENGTH = 16_384


@dataclass(frozen=True, slots=True)
class Root:
    """The mesh's root of trust."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def new_root(now: dt.datetime, key: ec.EllipticCurvePrivateKey) -> Root:
    """Makes a self-signed root for a key. It may sign leaves only."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ambient mesh root")])
    builder = _builder(name, name, key.public_key(), now, now + ROOT_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Root(key, builder.sign(key, hashes.SHA256()))


def read_csr(pem: str, identity: Identity) -> ec.EllipticCurvePublicKey:
    """Checks a certificate request and returns the key to certify.

    Raises:
        CredentialError: it is malformed, not signed by its own key, not on P-256, or names anything but the identity.
    Source: RFC 2986; X.509-SVID, section 4 (one URI SAN).
    """
    if len(pem) > MAX_CSR_LENGTH:
        raise CredentialError(f"the CSR is longer than {MAX_CSR_LENGTH}")
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        key, signed, names = csr.public_key(), csr.is_signature_valid, _alternative_names(csr)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        raise CredentialError("the CSR is malformed") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CredentialError("the CSR's key is not on P-256")
    if not signed:
        raise CredentialError("the CSR's signature is wrong")
    if names not in ([], [x509.UniformResourceIdentifier(str(identity))]):
        raise CredentialError("the CSR names something else than the identity asked for")
    return key


def _alternative_names(csr: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def issue_workload(
    root: Root, key: ec.EllipticCurvePublicKey, identity: Identity, lifetime: dt.timedelta, now: dt.datetime
) -> x509.Certificate:
    """Signs a certificate whose only name is the identity, for both ends of a tunnel.

    Args:
        lifetime: as asked for; it is cut to MAX_WORKLOAD_LIFETIME, and to the root's own end.
    Source: X.509-SVID, section 4; RFC 5280, section 4.2.1.6 (the name is critical since there is no subject).
    """
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    return _issue_leaf(root, key, san, now, now + min(lifetime, MAX_WORKLOAD_LIFETIME))


def issue_server(root: Root, key: ec.EllipticCurvePublicKey, dns_name: str, lifetime: dt.timedelta, now: dt.datetime) -> x509.Certificate:
    """Signs the control plane's own certificate."""
    return _issue_leaf(root, key, x509.SubjectAlternativeName([x509.DNSName(dns_name)]), now, now + lifetime)


def _issue_leaf(
    root: Root, key: ec.EllipticCurvePublicKey, san: x509.SubjectAlternativeName, now: dt.datetime, end: dt.datetime
) -> x509.Certificate:
    end = min(end, root.certificate.not_valid_after_utc)
    issuer = root.certificate.subject
    builder = _builder(x509.Name([]), issuer, key, now, end).add_extension(san, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(purposes, critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key()), critical=False)
    return builder.sign(root.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - BACKDATED, end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
