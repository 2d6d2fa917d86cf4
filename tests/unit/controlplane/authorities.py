"""Authorities as others would make them: roots, intermediates, leaves and revocation lists, in PEM, with whatever is wrong with them."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass
class Maker:
    """A key and its certificate."""

    key: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def revokes(self, *serials: int, ends: dt.timedelta = 7 * DAY, now: dt.datetime = NOW) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject).last_update(now - DAY).next_update(now + ends)
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def authority(
    name: str,
    parent: Maker | None = None,
    key: Any = None,
    ca: bool = True,
    path_length: int | None = None,
    begins: dt.timedelta = -DAY,
    ends: dt.timedelta = 3650 * DAY,
    signs: bool = True,
    extra: tuple[x509.ExtensionType, ...] = (),
    now: dt.datetime = NOW,
) -> Maker:
    """Makes a root, or an intermediate of `parent`."""
    key = key or p256()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer = parent.certificate.subject if parent else subject
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), now + begins, now + ends)
    builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
    usage = x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)
    builder = builder.add_extension(usage, critical=True)
    for extension in extra:
        builder = builder.add_extension(extension, critical=True)
    return Maker(key, builder.sign(parent.key if parent else key, hashes.SHA256()))


def secret(issuer: Maker, *roots: Maker, chain: tuple[Maker, ...] = (), lists: bytes = b"") -> dict[str, bytes]:
    """What a Secret with this authority holds."""
    files = {"ca-cert.pem": issuer.pem, "ca-key.pem": issuer.key_pem, "root-cert.pem": b"".join(root.pem for root in roots)}
    if chain:
        files["cert-chain.pem"] = b"".join(one.pem for one in chain)
    if lists:
        files["ca-crl.pem"] = lists
    return files
