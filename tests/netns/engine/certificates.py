"""A certificate authority for tests: it signs whatever a test needs, also what no honest one would."""

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ztunnel.engine.interface import Credentials

HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when, relative to now."""

    start: dt.timedelta = -HOUR
    end: dt.timedelta = HOUR


VALID = Validity()
EXPIRED = Validity(-2 * HOUR, -HOUR)
NOT_YET_VALID = Validity(HOUR, 2 * HOUR)


class Authority:
    """One root with a P-256 key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test root")])
        builder = _builder(name, name, self._key.public_key(), VALID)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        # Roots of one name differ by their key's identifier, as after a rotation.
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @classmethod
    def of(cls, key_pem: bytes, certificate_pem: bytes) -> "Authority":
        """One that somebody else has made."""
        authority = cls.__new__(cls)
        key = serialization.load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        authority._key, authority._certificate = key, x509.load_pem_x509_certificate(certificate_pem)
        return authority

    @property
    def root(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *uris: str, validity: Validity = VALID) -> Credentials:
        """A new key and a certificate with these URIs as its names (none: without the extension), trusting this root."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([]), self._certificate.subject, key.public_key(), validity)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=True)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Credentials(certificate, private, self.root)


def serial_number(certificate_der: bytes) -> int:
    """The serial number of a certificate in DER."""
    return x509.load_der_x509_certificate(certificate_der).serial_number


def serial_number_of(credentials: Credentials) -> int:
    """The serial number of the leaf certificate."""
    return x509.load_pem_x509_certificate(credentials.certificate_chain).serial_number


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, validity: Validity) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    serial = x509.random_serial_number()
    return builder.serial_number(serial).not_valid_before(now + validity.start).not_valid_after(now + validity.end)
