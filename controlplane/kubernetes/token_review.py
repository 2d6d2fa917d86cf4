"""Who calls, by the API server's word: a node proxy's token, sent there to be reviewed. Decisions only; no I/O.

Source: Kubernetes, TokenReview v1; "Bound service account tokens" for what `extra` holds.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.tokens import AUDIENCE, is_node_name
from mesh.errors import CredentialError

_ACCOUNT_PREFIX = "system:serviceaccount:"
# Kubernetes 1.32 and later name the node; all that we run with name the pod.
_NODE = "authentication.kubernetes.io/node-name"
_POD = "authentication.kubernetes.io/pod-name"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself, before anybody has verified it: it can rule a token out, and never in.

    Args:
        expires_s: seconds since the epoch.
    """

    subject: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A node proxy that the API server vouches for; it is known by its node, or by its pod alone ("" where it is not told)."""

    node: str
    namespace: str
    pod: str


def read_claims(token: str) -> Claims:
    """Reads what a token says, without verifying it. Raises CredentialError: it is none."""
    parts = token.split(".")
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else None
        expires_s = float(payload["exp"]) if isinstance(payload, dict) and type(payload.get("exp")) in {int, float} else None
    except (ValueError, RecursionError, OverflowError):
        payload = expires_s = None
    subject = payload.get("sub") if isinstance(payload, dict) else None
    if not isinstance(subject, str) or expires_s is None:
        raise CredentialError("the token is not valid: malformed")
    return Claims(subject, expires_s)


def rule_out(claims: Claims, accounts: frozenset[str], now_s: float) -> None:
    """Spares the API server the tokens that say themselves that they are of no use.

    Args:
        accounts: of node proxies, as "namespace/name".
    Raises:
        CredentialError: it is one of these.
    """
    if claims.subject not in {_ACCOUNT_PREFIX + one.replace("/", ":") for one in accounts}:
        raise CredentialError("the token is not a node proxy's")
    if claims.expires_s <= now_s:
        raise CredentialError("the token has expired")


def review_of(token: str) -> dict[str, Any]:
    """Returns the TokenReview that asks about a token."""
    return {"spec": {"token": token, "audiences": [AUDIENCE]}}


def read_review(answer: Mapping[str, Any], accounts: frozenset[str]) -> Reviewed:
    """Reads the answer to a TokenReview.

    Raises:
        CredentialError: the token is not one of a node proxy, for us.
    """
    status = _mapping(answer.get("status"))
    user, audiences = _mapping(status.get("user")), status.get("audiences")
    if status.get("authenticated") is not True:
        # Kubernetes' own words may quote what the token holds.
        raise CredentialError("the token is not valid: refused by the API server")
    # A server that knows nothing of audiences would take a token that was meant for others.
    if not isinstance(audiences, list) or AUDIENCE not in audiences:
        raise CredentialError("the token is not valid: InvalidAudienceError")
    username = user.get("username")
    account = username.removeprefix(_ACCOUNT_PREFIX).replace(":", "/") if isinstance(username, str) else ""
    if account not in accounts or username != _ACCOUNT_PREFIX + account.replace("/", ":"):
        raise CredentialError("the token is not a node proxy's")
    extra = _mapping(user.get("extra"))
    node, pod = _first(extra.get(_NODE)), _first(extra.get(_POD))
    if not is_node_name(node or pod):
        raise CredentialError("the token is bound to no pod")
    return Reviewed(node, account.partition("/")[0], pod)


def _first(values: object) -> str:
    one = values[0] if isinstance(values, list) and len(values) == 1 else ""
    return one if isinstance(one, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
