"""The nodes' tokens: what Kubernetes would project into a node proxy's pod."""

import datetime
import os
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

# Kubernetes' projected tokens live an hour by default, and are written anew when a fifth is left; here at half-life.
LIFETIME = datetime.timedelta(hours=1)


def make_token_key(private: Path, public: Path) -> None:
    """Writes a new P-256 key pair as PEM; the private half is root's alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def mint_token(private_pem: bytes, node: str, now: datetime.datetime) -> str:
    """A token that proves to be the node proxy of `node` from now on, for LIFETIME. Source: docs/runtime.md, Tokens."""
    claims = {
        "iss": "ambient-lab",
        "aud": "istio-ca",
        "sub": "system:serviceaccount:istio-system:ztunnel",
        "iat": now,
        "exp": now + LIFETIME,
        "kubernetes.io": {"node": {"name": node}},
    }
    key = load_pem_private_key(private_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return jwt.encode(claims, key, algorithm="ES256")


def write_private(path: Path, content: bytes) -> None:
    """Puts a file for root alone into place as a whole."""
    fresh = path.with_name(f".{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    fresh.rename(path)
