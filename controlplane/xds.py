"""The delta xDS service: authenticates a node, then moves messages between its stream and the feed."""

import asyncio
import itertools
import time
from typing import Any

import grpc
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.discovery.v3 import ads_pb2_grpc  # type: ignore[import-untyped]  # xds-protos has no types

from controlplane.feed import SnapshotFeed
from controlplane.resources import NOTHING
from controlplane.status import grpc_code
from controlplane.stream import Accepted, Fact, Rejected, Stream
from controlplane.tokens import Caller, authenticate
from mesh.errors import CredentialError, RemoteProtocolError

_log = structlog.get_logger()


class DiscoveryService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # xds-protos has no types
    """envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources."""

    def __init__(self, feed: SnapshotFeed, token_key: ec.EllipticCurvePublicKey) -> None:
        self._feed = feed
        self._token_key = token_key

    async def DeltaAggregatedResources(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:  # noqa: N802  # the service's own name
        """Serves one node until it hangs up, breaks the protocol, or its token ends."""
        log = _log.bind(peer=context.peer())
        try:
            caller = authenticate(context.invocation_metadata() or (), self._token_key)
            log = log.bind(node=caller.node)
            await self._serve(context, caller, log)
        except CredentialError as error:
            log.warning("xds_refused", reason=str(error))
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except RemoteProtocolError as error:
            log.warning("xds_refused", reason=error.reason)
            await context.abort(grpc_code(error.status), error.reason)

    async def _serve(self, context: Any, caller: Caller, log: Any) -> None:
        nonces = itertools.count(1)
        stream = Stream(lambda: str(next(nonces)))
        reading = asyncio.ensure_future(context.read())
        log.info("xds_opened")
        try:
            while True:
                changing = asyncio.ensure_future(self._feed.changed.wait())
                await self._send(stream, context, log)
                left_s = caller.expires_s - time.time()
                done, _ = await asyncio.wait({reading, changing}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                changing.cancel()
                if not done:
                    raise CredentialError("the token has expired")
                if reading in done:
                    message = reading.result()
                    if message is grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
                        return
                    _report(stream.receive(message, self._feed.addresses or NOTHING), log)
                    reading = asyncio.ensure_future(context.read())
        finally:
            reading.cancel()
            log.info("xds_closed")

    async def _send(self, stream: Stream, context: Any, log: Any) -> None:
        """Sends what is due. Before the first snapshot nothing is: an empty answer would say that there is nothing."""
        if self._feed.addresses is None:
            return
        for type_url, response, message in stream.responses(self._feed.addresses):
            await context.write(message)
            log.info(
                "xds_pushed",
                type=type_url,
                nonce=message.nonce,
                generation=response.generation,
                resources=len(response.resources),
                removed=len(response.removed),
                bytes=message.ByteSize(),
            )


def _report(facts: list[Fact], log: Any) -> None:
    for fact in facts:
        match fact:
            case Rejected():
                log.error("xds_nack", type=fact.type_url, code=fact.code, message=fact.message)
            case Accepted():
                log.info("xds_ack", type=fact.type_url, nonce=fact.nonce)
            case _:
                counts = {"added": fact.added, "dropped": fact.dropped}
                write = log.info if fact.known else log.warning
                write("xds_subscribed", type=fact.type_url, first=fact.first, wildcard=fact.wildcard, known=fact.known, **counts)
