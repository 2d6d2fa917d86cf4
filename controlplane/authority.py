"""The certificate authority as a value: what signs, what the nodes are to trust, and the certificates. No I/O; time is an argument."""

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.errors import CredentialError
from mesh.identity import Identity

# Everything trusts it: long enough that its rotation is an event of years.
ROOT_LIFETIME = dt.timedelta(days=3650)
# A stolen workload key is of use for a day at most. Source: design, "Identity and policy".
MAX_WORKLOAD_LIFETIME = dt.timedelta(hours=24)
# Clocks of two nodes may differ a little.
BACKDATED = dt.timedelta(minutes=1)

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_NO_NAME = x509.Name([])
_LEAF = x509.BasicConstraints(ca=False, path_length=None)
_SIGNS_LEAVES = x509.BasicConstraints(ca=True, path_length=0)
_BOTH_ENDS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


@dataclass(frozen=True, slots=True)
class Issuer:
    """What signs: a root, or an intermediate. Made by `issuer_of`, which works out once what every certificate repeats.

    Args:
        above: what a leaf must be sent with, in order: the issuer itself and the intermediates above it; () when the issuer is a root.
        identifier: the AuthorityKeyIdentifier of what it signs.
        digest: the hash that goes with its key.
    """

    key: SigningKey
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    identifier: x509.AuthorityKeyIdentifier
    digest: hashes.SHA256 | hashes.SHA384
    ends: dt.datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """Everything of the authority that is in force at a time.

    Args:
        bundle: every root that is to be believed, PEM.
        revocations: revocation lists, PEM; b"" for none.
        reply_chain: what follows the leaf in an answer, PEM: the intermediates, then the bundle.
    """

    issuer: Issuer
    bundle: bytes
    revocations: bytes
    reply_chain: tuple[str, ...]


def issuer_of(key: SigningKey, certificate: x509.Certificate, above: tuple[x509.Certificate, ...] = ()) -> Issuer:
    """Makes an issuer of a key, its certificate, and what stands between that and a root (see Issuer)."""
    large = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
    digest = hashes.SHA384() if large else hashes.SHA256()
    return Issuer(key, certificate, above, _identifier(certificate), digest, certificate.not_valid_after_utc)


def make_authority(issuer: Issuer, bundle: bytes, revocations: bytes) -> Authority:
    """Puts an authority together.

    Source: istio.v1.auth: the parts of cert_chain are the leaf, the intermediates, and the roots last.
    """
    chain = (*(one.public_bytes(Encoding.PEM).decode() for one in issuer.above), bundle.decode())
    return Authority(issuer, bundle, revocations, chain)


def new_root(now: dt.datetime, key: ec.EllipticCurvePrivateKey, generation: int = 1) -> x509.Certificate:
    """Makes a self-signed root for a key. It may sign leaves only; its name tells it from the roots before and after it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ambient mesh root {generation}")])
    builder = _builder(name, name, key.public_key(), now, now + ROOT_LIFETIME)
    builder = builder.add_extension(_SIGNS_LEAVES, critical=True).add_extension(_usage(signs_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256())


def issue_workload(
    issuer: Issuer, key: ec.EllipticCurvePublicKey, identity: Identity, lifetime: dt.timedelta, now: dt.datetime
) -> x509.Certificate:
    """Signs a certificate whose only name is the identity, for both ends of a tunnel.

    Args:
        lifetime: as asked for; it is cut to MAX_WORKLOAD_LIFETIME, and to the issuer's own end.
    Raises:
        CredentialError: the issuer's own certificate has ended.
    Source: X.509-SVID, section 4; RFC 5280, section 4.2.1.6 (the name is critical since there is no subject).
    """
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    return _issue_leaf(issuer, key, san, now, min(lifetime, MAX_WORKLOAD_LIFETIME))


def issue_server(
    issuer: Issuer, key: ec.EllipticCurvePublicKey, dns_name: str, lifetime: dt.timedelta, now: dt.datetime
) -> x509.Certificate:
    """Signs the control plane's own certificate. Raises CredentialError as issue_workload does."""
    return _issue_leaf(issuer, key, x509.SubjectAlternativeName([x509.DNSName(dns_name)]), now, lifetime)


def _issue_leaf(
    issuer: Issuer, key: ec.EllipticCurvePublicKey, san: x509.SubjectAlternativeName, now: dt.datetime, lifetime: dt.timedelta
) -> x509.Certificate:
    if issuer.ends <= now:
        raise CredentialError(f"the authority's own certificate ended at {issuer.ends.isoformat()}")
    builder = _builder(_NO_NAME, issuer.certificate.subject, key, now, min(now + lifetime, issuer.ends))
    builder = builder.add_extension(san, critical=True).add_extension(_LEAF, critical=True)
    builder = builder.add_extension(_SIGNS_HANDSHAKES, critical=True).add_extension(_BOTH_ENDS, critical=False)
    return builder.add_extension(issuer.identifier, critical=False).sign(issuer.key, issuer.digest)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - BACKDATED, end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _identifier(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Repeats the issuer's own name of its key, which others may have worked out in another way. Source: RFC 5280, section 4.2.1.1."""
    try:
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey), "no other key is let in"
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


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


_SIGNS_HANDSHAKES = _usage(signs_certificates=False)
