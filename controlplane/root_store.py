"""Keeps the root of trust on disk: made once, never replaced silently."""

import datetime as dt
import os
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authority import Root, new_root
from mesh.errors import ConfigError

KEY_FILE = "root-key.pem"
CERTIFICATE_FILE = "root-cert.pem"
_PRIVATE_MODE = 0o600
_PUBLIC_MODE = 0o644


def load_or_create_root(state_dir: Path, now: dt.datetime) -> Root:
    """Returns the root that the directory holds, or makes one where it holds none.

    A key without a certificate is what a crash between the two leaves: it gets its certificate. A certificate without its key is an
    error, since nodes trust it already and a new root would cut them off.
    Raises:
        ConfigError: what is there cannot be used.
        OSError: the directory cannot be read or written.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    key_file, certificate_file = state_dir / KEY_FILE, state_dir / CERTIFICATE_FILE
    if not key_file.exists():
        if certificate_file.exists():
            raise ConfigError(str(key_file), None, f"the private key of {CERTIFICATE_FILE}; remove that too to begin with a new root")
        _write_new(key_file, _private_pem(ec.generate_private_key(ec.SECP256R1())), _PRIVATE_MODE)
    key = _load_key(key_file)
    if not certificate_file.exists():
        _write_new(certificate_file, new_root(now, key).certificate_pem, _PUBLIC_MODE)
    return Root(key, _load_certificate(certificate_file, key, now))


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ConfigError(str(path), f"mode {mode:04o}", f"mode {_PRIVATE_MODE:04o}: others could have read the root key")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(str(path), "unreadable", "an unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(str(path), type(key).__name__, "a private key on P-256")
    return key


def _load_certificate(path: Path, key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        matches = certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(str(path), "unreadable", "a PEM certificate") from None
    if not matches:
        raise ConfigError(str(path), "another key's", f"the certificate of {KEY_FILE}")
    if certificate.not_valid_after_utc <= now:
        raise ConfigError(str(path), f"ended {certificate.not_valid_after_utc.isoformat()}", "a certificate that is still valid")
    return certificate


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Puts a file in place whole, on the disk, or not at all; one that is there already wins."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(scratch, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        Path(scratch).unlink()
