"""What a control plane that is broken or hostile sends ends the call with an error that is expected, and fills no memory."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as xds
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from mesh.identity import Identity
from mesh.wire import ca_pb2
from tests.unit.ztunnel.certificates.once import fetch_once
from tests.unit.ztunnel.fakes import NODE
from tests.unit.ztunnel.pki import Root
from tests.unit.ztunnel.plane import NAME, Plane
from ztunnel import bounded_call
from ztunnel.control_plane import CALL_ERRORS
from ztunnel.discovery.client import METHOD, Discovery

SIGN = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
CUT = b"\0\0\0\0\x10abc"
COMPRESSED = b"\x01\0\0\0\x03abc"
RUBBISH = b"\0\0\0\0\x03\xff\xff\xff"
ENDLESS = b"\0\xff\xff\xff\xff" + bytes(4096)


@asynccontextmanager
async def answering(directory: Path, content: bytes, end: bool) -> AsyncIterator[Plane]:
    """A control plane that answers every call with these bytes; then it ends the call with a status of OK, or waits."""

    async def answer(stream: Stream[Any, Any]) -> None:
        await stream.send_initial_metadata()
        await stream._stream.send_data(content)
        if not end:
            await asyncio.Event().wait()

    def of(path: str, *kinds: Any) -> Callable[[], dict[str, Handler]]:
        return lambda: {path: Handler(answer, Cardinality.STREAM_STREAM, *kinds)}

    class Service:
        def __init__(self, mapping: Callable[[], dict[str, Handler]]) -> None:
            self.__mapping__ = mapping

    root = Root()
    context: ssl.SSLContext = root.server_context(directory, NAME)
    server = Server(
        [
            Service(of(METHOD, xds.DeltaDiscoveryRequest, xds.DeltaDiscoveryResponse)),
            Service(of(SIGN, ca_pb2.IstioCertificateRequest, ca_pb2.IstioCertificateResponse)),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=listener, ssl=context)
    try:
        yield Plane(directory, root, listener.getsockname()[1])
    finally:
        server.close()


ANSWERS = {"cut": (CUT, True), "compressed": (COMPRESSED, False), "rubbish": (RUBBISH, False), "endless": (ENDLESS, False)}


@pytest.mark.parametrize(("content", "end"), ANSWERS.values(), ids=ANSWERS)
async def test_a_stream_ends_with_an_error_that_is_expected(tmp_path: Path, content: bytes, end: bool) -> None:
    async with answering(tmp_path, content, end) as plane:
        with pytest.raises(CALL_ERRORS):
            await Discovery(NODE, plane.settings, lambda: None).session()


@pytest.mark.parametrize(("content", "end"), [*ANSWERS.values(), (b"", True)], ids=[*ANSWERS, "nothing"])
async def test_a_certificate_call_ends_with_an_error_that_is_expected(tmp_path: Path, content: bytes, end: bool) -> None:
    async with answering(tmp_path, content, end) as plane:
        with pytest.raises(CALL_ERRORS):
            await fetch_once(plane.settings, Identity("cluster.local", "shop", "buyer"), plane.trust)


@pytest.mark.parametrize(("spare", "taken"), [(0, ["1"]), (-1, [])])
async def test_a_message_may_have_the_largest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, taken: list[str]) -> None:
    body = xds.DeltaDiscoveryResponse(type_url="unknown", nonce="1").SerializeToString()
    monkeypatch.setattr(bounded_call, "MAX_MESSAGE_LENGTH", len(body) + spare)
    seen: list[str] = []
    monkeypatch.setattr(Discovery, "take", lambda _self, response: seen.append(response.nonce))
    async with answering(tmp_path, b"\0" + len(body).to_bytes(4) + body, True) as plane:
        with pytest.raises(CALL_ERRORS):
            await Discovery(NODE, plane.settings, lambda: None).session()
    assert seen == taken
