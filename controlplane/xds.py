"""The delta xDS service: authenticates a node, then moves messages between its stream and the feed."""

import asyncio
import itertools
import time
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3 import discovery_pb2  # type: ignore[import-untyped]  # xds-protos has no types

from controlplane.feed import Feed
from controlplane.node_streams import NodeStreams
from controlplane.status import Status, grpc_code
from controlplane.stream import Accepted, Fact, Rejected, Stream
from controlplane.tokens import Authenticator, Caller
from mesh.errors import CredentialError, RemoteProtocolError

_log = structlog.get_logger()
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class DiscoveryService:
    """envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources."""

    def __init__(self, feed: Feed, authenticator: Authenticator) -> None:
        self._feed = feed
        self._authenticator = authenticator
        self._streams = NodeStreams()

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """Returns what a server is to serve. Responses leave as bytes: their resources were serialised once, for all streams."""
        method = grpc.stream_stream_rpc_method_handler(self._serve_call, discovery_pb2.DeltaDiscoveryRequest.FromString)
        return grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": method})

    async def _serve_call(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serves one node until it hangs up, breaks the protocol, or its token ends."""
        log = _log.bind(peer=context.peer())
        try:
            caller = await self._authenticator.authenticate(context.invocation_metadata() or ())
            log = log.bind(node=caller.node)
            async with asyncio.timeout(None) as limit:
                with self._streams.hold(caller.node, limit):
                    await self._serve(context, caller, log)
        except TimeoutError:
            log.warning("xds_refused", reason="the node has newer streams")
            await context.abort(grpc_code(Status.RESOURCE_EXHAUSTED), "the node has newer streams")
        except CredentialError as error:
            log.warning("xds_refused", reason=str(error))
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except RemoteProtocolError as error:
            log.warning("xds_refused", reason=error.reason)
            await context.abort(grpc_code(error.status), error.reason)

    async def _serve(self, context: Any, caller: Caller, log: Any) -> None:
        nonces = itertools.count(1)
        stream = Stream(lambda: str(next(nonces)), self._feed, caller.node)
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
                    _report(stream.receive(message), log)
                    reading = asyncio.ensure_future(context.read())
        finally:
            reading.cancel()
            log.info("xds_closed")

    async def _send(self, stream: Stream, context: Any, log: Any) -> None:
        """Sends what is due. Before the first reading nothing is: an empty answer would say that there is nothing."""
        for sent in stream.responses() if self._feed.known else ():
            message = sent.serialise()
            await context.write(message)
            counts = {"resources": len(sent.response.resources), "removed": len(sent.response.removed)}
            log.info("xds_pushed", type=sent.type_url, nonce=sent.nonce, generation=sent.response.generation, **counts, bytes=len(message))


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
