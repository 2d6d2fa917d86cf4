"""A certificate authority for tests: it signs whatever a test needs, also what no honest one would."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ztunnel.engine.interface import Credentials

# Each with whether it is critical.
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
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
    """A root, or an authority under another one, with a P-256 key."""

    def __init__(self, above: "Authority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._above = above
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test intermediate" if above else "test root")])
        builder = _builder(name, above.certificate.subject if above else name, self._key.public_key(), VALID)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # Roots of one name differ by their key's identifier, as after a rotation.
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        if above:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key), critical=False)
        self.certificate = builder.sign(above._key if above else self._key, hashes.SHA256())

    @classmethod
    def of(cls, key_pem: bytes, certificate_pem: bytes) -> "Authority":
        """One that somebody else has made."""
        authority = cls.__new__(cls)
        key = serialization.load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        authority._key, authority._above, authority.certificate = key, None, x509.load_pem_x509_certificate(certificate_pem)
        return authority

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    @property
    def root(self) -> bytes:
        """The bundle that it is verified with."""
        return self._above.root if self._above else _pem(self.certificate)

    def issue(self, *uris: str, validity: Validity = VALID, serial: int | None = None) -> Credentials:
        """A new key and a certificate with these URIs as its names (none: without the extension), trusting this root."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([]), self.certificate.subject, key.public_key(), validity, serial)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=True)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        chain = _pem(builder.sign(self._key, hashes.SHA256())) + (_pem(self.certificate) if self._above else b"")
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Credentials(chain, private, self.root)

    def revoke(
        self, *serials: int, key_id: bool = True, signer: "Authority | None" = None, validity: Validity = VALID, also: Extensions = ()
    ) -> bytes:
        """A revocation list in PEM.

        Args:
            key_id: with the identifier of the issuer's key.
            signer: who signs it instead, and should not.
            also: further extensions, each with whether it is critical.
        """
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now + validity.start).next_update(now + validity.end)
        if key_id:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.public_key), critical=False)
        for extension, critical in also:
            builder = builder.add_extension(extension, critical)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign((signer or self)._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def serial_number(certificate_der: bytes) -> int:
    """The serial number of a certificate in DER."""
    return x509.load_der_x509_certificate(certificate_der).serial_number


def serial_number_of(credentials: Credentials) -> int:
    """The serial number of the leaf certificate."""
    return x509.load_pem_x509_certificate(credentials.certificate_chain).serial_number


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, validity: Validity, serial: int | None = None
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(serial or x509.random_serial_number())
    return builder.not_valid_before(now + validity.start).not_valid_after(now + validity.end)
