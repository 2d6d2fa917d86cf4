"""A throw-away certificate authority for the proxies that are measured: P-256, a SPIFFE URI as the only name."""

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM of a certificate and of its private key."""

    certificate: bytes
    private_key: bytes


class Authority:
    """A root that signs certificates of one day."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "bench")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(name, name, self._key.public_key()).add_extension(constraints, critical=True)
        self._root = builder.sign(self._key, hashes.SHA256())

    @property
    def root(self) -> bytes:
        return self._root.public_bytes(serialization.Encoding.PEM)

    def issue(self, spiffe_uri: str) -> KeyPair:
        """A new key and its certificate for the identity."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_uri)])
        builder = _builder(x509.Name([]), self._root.subject, key.public_key()).add_extension(names, critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
