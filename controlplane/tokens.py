"""Who calls: the signed token of a node proxy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mesh.errors import ConfigError, CredentialError

AUDIENCE = "istio-ca"
ISSUER = "ambient-lab"
NODE_PROXY = "system:serviceaccount:istio-system:ztunnel"
_BEARER = "bearer "
# gRPC itself bounds metadata to 8 KiB; a token of ours has some 400 bytes.
_MAX_TOKEN_LENGTH = 8192


@dataclass(frozen=True, slots=True)
class Caller:
    """A node proxy that proved who it is.

    Args:
        node: the node that it runs on.
        expires_s: when its token ends, in seconds since the epoch.
    """

    node: str
    expires_s: float


def load_token_key(pem: bytes, key: str) -> ec.EllipticCurvePublicKey:
    """Reads the public key that verifies tokens.

    Args:
        key: the setting's name, for the error.
    Raises:
        ConfigError: it is no P-256 public key.
    """
    expected = "a PEM public key on P-256"
    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(key, "unreadable", expected) from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ConfigError(key, type(public).__name__, expected)
    return public


def authenticate(metadata: Iterable[tuple[str, str | bytes]], key: ec.EllipticCurvePublicKey) -> Caller:
    """Verifies the bearer token of a call.

    Raises:
        CredentialError: there is none, or it is not what a node proxy holds; the text never quotes it.
    Source: RFC 6750; Kubernetes, "Bound service account tokens" for the claim of the node.
    """
    values = [value for name, value in metadata if name == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str) or not values[0].lower().startswith(_BEARER):
        raise CredentialError("no bearer token")
    claims = _verify(values[0][len(_BEARER) :].strip(), key)
    if claims["sub"] != NODE_PROXY:
        raise CredentialError("the token is not a node proxy's")
    node = _node(claims)
    if not node:
        raise CredentialError("the token names no node")
    return Caller(node, float(claims["exp"]))


def _verify(token: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    if len(token) > _MAX_TOKEN_LENGTH:
        raise CredentialError("the token is too long")
    options = {"require": ["exp", "iss", "aud", "sub"]}
    try:
        return jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER, options=options)  # type: ignore[arg-type]
    except jwt.InvalidTokenError as error:
        raise CredentialError(f"the token is not valid: {type(error).__name__}") from None
    except (ValueError, OverflowError, RecursionError):
        # What the library's parsing of an absurd header or claim lets through.
        raise CredentialError("the token is not valid: malformed") from None


def _node(claims: dict[str, Any]) -> str:
    kubernetes = claims.get("kubernetes.io")
    node = kubernetes.get("node") if isinstance(kubernetes, dict) else None
    name = node.get("name") if isinstance(node, dict) else None
    return name if isinstance(name, str) and name.isprintable() and len(name) <= 253 else ""
