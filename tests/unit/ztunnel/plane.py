"""A control plane on the loopback interface that says what the test tells it to: grpclib's server, real TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2 as xds
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from mesh.wire import ca_pb2
from mesh.wire.ca_grpc import IstioCertificateServiceBase
from tests.unit.ztunnel.pki import Root
from ztunnel.certificates.trust import Trust
from ztunnel.certificates.trust_files import TrustFiles
from ztunnel.config import ControlPlaneSettings
from ztunnel.discovery.client import METHOD
from ztunnel.discovery.wire import ADDRESS_TYPE

NAME = "controlplane.ambient"


class Session:
    """One stream: what the client said, and what it is told."""

    def __init__(self, stream: Stream[Any, Any]) -> None:
        self._stream = stream
        # What came while the test asked for another type.
        self._kept: list[xds.DeltaDiscoveryRequest] = []
        self.ended = asyncio.Event()

    async def receive_any(self) -> xds.DeltaDiscoveryRequest:
        """Returns the next request of all."""
        request = self._kept.pop(0) if self._kept else await self._stream.recv_message()
        assert request is not None, "the client ended the stream"
        return request

    async def receive(self, type_url: str = ADDRESS_TYPE) -> xds.DeltaDiscoveryRequest:
        """Returns the next request of a type; those of one type keep their order."""
        for position, request in enumerate(self._kept):
            if request.type_url == type_url:
                return self._kept.pop(position)
        while (request := await self._stream.recv_message()) is not None:
            if request.type_url == type_url:
                return request
            self._kept.append(request)
        raise AssertionError("the client ended the stream")

    async def send(self, response: xds.DeltaDiscoveryResponse) -> None:
        await self._stream.send_message(response)

    def end(self) -> None:
        self.ended.set()


class Discovery:
    """Hands each stream to the test."""

    def __init__(self) -> None:
        self.sessions: asyncio.Queue[Session] = asyncio.Queue()
        self.tokens: list[str] = []

    async def stream(self, stream: Stream[Any, Any]) -> None:
        assert stream.metadata is not None
        self.tokens.append(str(stream.metadata.get("authorization")))
        session = Session(stream)
        await self.sessions.put(session)
        await session.ended.wait()

    def __mapping__(self) -> dict[str, Handler]:
        return {METHOD: Handler(self.stream, Cardinality.STREAM_STREAM, xds.DeltaDiscoveryRequest, xds.DeltaDiscoveryResponse)}


class Authority(IstioCertificateServiceBase):
    """Signs with the root unless the test gives another answer."""

    def __init__(self, root: Root) -> None:
        self.answer: Callable[[ca_pb2.IstioCertificateRequest], list[str]] = lambda request: [root.sign_request(request.csr), root.pem]
        self.requests: list[ca_pb2.IstioCertificateRequest] = []
        self.tokens: list[str] = []
        # Addresses of those who called: one for each connection.
        self.peers: set[object] = set()
        self.refuses: Status | None = None

    async def CreateCertificate(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        assert stream.metadata is not None
        self.tokens.append(str(stream.metadata.get("authorization")))
        assert stream.peer is not None
        self.peers.add(stream.peer.addr())
        request = await stream.recv_message()
        assert request is not None
        self.requests.append(request)
        if self.refuses is not None:
            raise GRPCError(self.refuses, "no pod of it on this node")
        await stream.send_message(ca_pb2.IstioCertificateResponse(cert_chain=self.answer(request)))


class Plane:
    """Both services behind one port."""

    def __init__(self, directory: Path, root: Root, port: int) -> None:
        self.root = root
        self.discovery = Discovery()
        self.authority = Authority(root)
        self.token = directory / "token"
        self.token.write_text("first-token\n")
        self.root_file = directory / "root.pem"
        self.root_file.write_text(root.pem)
        self.settings = self.settings_for(port)

    def trust(self) -> Trust:
        return TrustFiles(self.root_file, None).read()

    def settings_for(self, port: int, on_demand: bool = True, server_name: str = NAME) -> ControlPlaneSettings:
        address = ("127.0.0.1", port)
        return ControlPlaneSettings(address, address, server_name, self.root_file, self.token, on_demand)


@asynccontextmanager
async def running(directory: Path, tls: Callable[[ssl.SSLContext], None] = lambda context: None) -> AsyncIterator[Plane]:
    """Serves until the block ends; `tls` may change the server's context."""
    root = Root()
    context = root.server_context(directory, NAME)
    tls(context)
    listener = socket.create_server(("127.0.0.1", 0))
    plane = Plane(directory, root, listener.getsockname()[1])
    server = Server([plane.discovery, plane.authority])
    await server.start(sock=listener, ssl=context)
    try:
        yield plane
    finally:
        server.close()
        await server.wait_closed()
