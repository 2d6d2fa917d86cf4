"""Keeps the self-made roots on disk: each is made once, by whichever replica comes first, and never replaced silently."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authority import Issuer, issuer_of, new_root
from controlplane.files import PRIVATE_MODE, PUBLIC_MODE, write_new
from mesh.errors import ConfigError


def key_name(generation: int) -> str:
    return "root-key.pem" if generation == 1 else f"root-key-{generation}.pem"


def certificate_name(generation: int) -> str:
    return "root-cert.pem" if generation == 1 else f"root-cert-{generation}.pem"


def key_file(state_dir: Path, generation: int) -> Path:
    return state_dir / key_name(generation)


def certificate_file(state_dir: Path, generation: int) -> Path:
    return state_dir / certificate_name(generation)


def create_root(state_dir: Path, generation: int, now: dt.datetime) -> None:
    """Makes a root where the directory does not hold it yet.

    A key without a certificate is what a crash between the two leaves: it gets its certificate. A certificate without its key is an
    error, since nodes trust it already and a new root would cut them off.
    Raises:
        ConfigError: what is there cannot be used.
        OSError: the directory cannot be read or written.
    """
    key_path, certificate_path = key_file(state_dir, generation), certificate_file(state_dir, generation)
    if not key_path.exists():
        if certificate_path.exists():
            raise ConfigError(str(key_path), None, f"the private key of {certificate_path.name}; remove that too to begin with a new root")
        write_new(key_path, new_key(), PRIVATE_MODE)
    if not certificate_path.exists():
        write_new(certificate_path, new_certificate(_load_key(key_path), generation, now), PUBLIC_MODE)


def load_root(state_dir: Path, generation: int) -> Issuer:
    """Returns a root that the directory holds.

    Raises:
        ConfigError: it is not there, or cannot be used.
        OSError: the directory cannot be read.
    """
    key = _load_key(key_file(state_dir, generation))
    path = certificate_file(state_dir, generation)
    return issuer_of(key, read_certificate(path.read_bytes(), key, str(path), key_name(generation)))


def forget_root(state_dir: Path, generation: int) -> None:
    """Removes a root that nobody trusts any longer. The certificate goes first: a key alone is what a crash may leave."""
    certificate_file(state_dir, generation).unlink(missing_ok=True)
    key_file(state_dir, generation).unlink(missing_ok=True)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        raise ConfigError(str(path), None, "the private key of a root that the nodes trust")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ConfigError(str(path), f"mode {mode:04o}", f"mode {PRIVATE_MODE:04o}: others could have read the root key")
    return read_key(path.read_bytes(), str(path))


def new_key() -> bytes:
    """Makes the private key of a root, PEM."""
    key, form = ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def new_certificate(key: ec.EllipticCurvePrivateKey, generation: int, now: dt.datetime) -> bytes:
    """Makes the certificate of a root, PEM."""
    return new_root(now, key, generation).public_bytes(serialization.Encoding.PEM)


def read_key(pem: bytes, name: str) -> ec.EllipticCurvePrivateKey:
    """Reads the private key of a root.

    Args:
        name: where it stands, for the error.
    Raises:
        ConfigError: it is none.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(name, "unreadable", "an unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(name, type(key).__name__, "a private key on P-256")
    return key


def read_certificate(pem: bytes, key: ec.EllipticCurvePrivateKey, name: str, key_name: str) -> x509.Certificate:
    """Reads the certificate of a root.

    Args:
        name, key_name: where it and the key stand, for the error.
    Raises:
        ConfigError: it is none, or another key's.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        matches = certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(name, "unreadable", "a PEM certificate") from None
    if not matches:
        raise ConfigError(name, "another key's", f"the certificate of {key_name}")
    return certificate
