"""The cluster's own authority, and the certificates of its parts. Keys live as long as the cluster's directory."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Longer than any cluster is kept.
_LIFETIME = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Issued:
    """PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs for the API server and for everybody who talks to it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        builder = _builder(name, name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def issued(self) -> Issued:
        return Issued(self._certificate.public_bytes(Encoding.PEM), pem(self._key))

    def issue(self, user: str, groups: Sequence[str] = (), names: Sequence[str] = ()) -> Issued:
        """A certificate for a user of Kubernetes, and for a server of these names and addresses.

        Source: Kubernetes, "Authenticating": the common name is the user, organisations are groups.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = _builder(subject, self._certificate.subject, key).add_extension(usages, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM), pem(key))


def service_account_keys() -> tuple[bytes, bytes]:
    """The private and the public key of service accounts' tokens, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return pem(key), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + _LIFETIME)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
