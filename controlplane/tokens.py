"""Who calls: the signed token of a node proxy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

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


Metadata = Iterable[tuple[str, str | bytes]]


class Authenticator(Protocol):
    """Finds out who calls."""

    async def authenticate(self, metadata: Metadata) -> Caller:
        """Checks the bearer token of a call.

        Args:
            metadata: of the call, as gRPC gives it.
        Raises:
            CredentialError: there is none, or it is not what a node proxy holds; the text never quotes it.
            RemoteProtocolError: UNAVAILABLE, nobody can say at the moment.
        """


class SignedTokens:
    """Tokens that a key of ours has signed: the lab's."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key

    async def authenticate(self, metadata: Metadata) -> Caller:
        return authenticate(metadata, self._key)


def authenticate(metadata: Metadata, key: ec.EllipticCurvePublicKey) -> Caller:
    """Verifies the bearer token of a call by a key.

    Raises:
        CredentialError: there is none, or it is not what a node proxy holds; the text never quotes it.
    Source: Kubernetes, "Bound service account tokens" for the claim of the node.
    """
    claims = _verify(bearer_token(metadata), key)
    if claims["sub"] != NODE_PROXY:
        raise CredentialError("the token is not a node proxy's")
    node = _node(claims)
    if not node:
        raise CredentialError("the token names no node")
    return Caller(node, float(claims["exp"]))


def bearer_token(metadata: Metadata) -> str:
    """Returns the bearer token of a call. Raises CredentialError: there is none. Source: RFC 6750."""
    values = [value for name, value in metadata if name == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str) or not values[0].lower().startswith(_BEARER):
        raise CredentialError("no bearer token")
    token = values[0][len(_BEARER) :].strip()
    if len(token) > _MAX_TOKEN_LENGTH:
        raise CredentialError("the token is too long")
    return token


def _verify(token: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
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
    return name if is_node_name(name) else ""


def is_node_name(name: object) -> TypeGuard[str]:
    """Says whether it may be a node's name: it ends in log lines."""
    return isinstance(name, str) and name.isprintable() and 0 < len(name) <= 253
