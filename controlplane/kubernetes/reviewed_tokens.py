"""Authenticates node proxies by asking the API server, and remembers its answers for a moment."""

import asyncio
import hashlib
import time
from collections.abc import Callable

import structlog

from controlplane.kubernetes.token_review import Reviewed, read_claims, read_review, review_of, rule_out
from controlplane.status import Status
from controlplane.tokens import Caller, Metadata, bearer_token
from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer, RemoteProtocolError
from runtime.kubernetes import Api
from runtime.kubernetes.resources import TOKEN_REVIEWS

_log = structlog.get_logger()
# A token that was taken back is believed so long. A node asks for all its certificates within less.
REMEMBERED_S = 60.0
# Each has 200 bytes or so; the largest clusters have 5,000 nodes, and a token of each changes every hour.
MAX_REMEMBERED = 20_000
# The API server answers within milliseconds; a cluster that starts at once brings a call from every node.
MAX_AT_ONCE = 16
# More that wait would wait longer than their callers do.
MAX_WAITING = 1024
# Of a token that was never bound to an hour; its owner connects again.
LONGEST_S = 24 * 3600.0


class ReviewedTokens:
    """Whatever cannot be asked is not believed.

    Args:
        accounts: of node proxies, as "namespace/name".
        node_of_pod: says where the pod of a namespace and name runs; "" while that is not known.
        clock: seconds since the epoch.
    """

    def __init__(
        self, api: Api, accounts: frozenset[str], node_of_pod: Callable[[str, str], str], clock: Callable[[], float] = time.time
    ) -> None:
        self._api = api
        self._accounts = accounts
        self._node_of_pod = node_of_pod
        self._clock = clock
        # By the token's digest, oldest first: what the API server said, and until when that counts.
        self._remembered: dict[bytes, tuple[Reviewed, float]] = {}
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._waiting = 0

    async def authenticate(self, metadata: Metadata) -> Caller:
        token = bearer_token(metadata)
        claims, now_s = read_claims(token), self._clock()
        rule_out(claims, self._accounts, now_s)
        digest = hashlib.sha256(token.encode()).digest()
        reviewed = self._recall(digest) or await self._review(token, digest, claims.expires_s)
        node = reviewed.node or self._node_of_pod(reviewed.namespace, reviewed.pod)
        if not node:
            raise RemoteProtocolError(Status.UNAVAILABLE, "the pod of the token is not known yet")
        return Caller(node, min(claims.expires_s, now_s + LONGEST_S))

    def _recall(self, digest: bytes) -> Reviewed | None:
        found = self._remembered.get(digest)
        return found[0] if found is not None and self._clock() < found[1] else None

    async def _review(self, token: str, digest: bytes, expires_s: float) -> Reviewed:
        if self._waiting >= MAX_WAITING:
            raise RemoteProtocolError(Status.UNAVAILABLE, "too many tokens wait to be reviewed")
        self._waiting += 1
        try:
            async with self._slots:
                # A node brings the same token many times at once.
                return self._recall(digest) or await self._ask(token, digest, expires_s)
        finally:
            self._waiting -= 1

    async def _ask(self, token: str, digest: bytes, expires_s: float) -> Reviewed:
        try:
            answer = await self._api.create(TOKEN_REVIEWS, "", review_of(token))
        except (ApiError, ApiUnreachable, BrokenAnswer) as error:
            # What the server said may quote the request.
            said = f"{error.status} {error.reason}" if isinstance(error, ApiError) else type(error).__name__
            _log.warning("token_not_reviewed", error=said)
            raise RemoteProtocolError(Status.UNAVAILABLE, "tokens cannot be reviewed at the moment") from None
        reviewed = read_review(answer, self._accounts)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered.pop(digest, None)
        self._remembered[digest] = reviewed, min(expires_s, self._clock() + REMEMBERED_S)
        return reviewed
