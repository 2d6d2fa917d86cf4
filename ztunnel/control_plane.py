"""A gRPC connection to the control plane: TLS 1.3, a verified name, a bearer token. For xDS and the CA alike."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any, cast

from google.protobuf.message import DecodeError
from grpclib.client import Channel, Handler
from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from mesh.errors import CredentialError, MeshError
from ztunnel.bounded_call import BoundedCall
from ztunnel.config import ControlPlaneSettings
from ztunnel.engine.interface import Endpoint

# What a call to the control plane may raise when it, the way to it, or our token is at fault.
CALL_ERRORS = (OSError, GRPCError, StreamTerminatedError, ProtocolError, DecodeError, CredentialError)
# A dead peer is noticed after idle + count * interval = 30 s. By TCP, for gRPC servers count PINGs against a client.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 15, 5, 3
# The control plane is one or two hops away; a lost SYN is sent again after 1 s and 3 s.
CONNECT_TIMEOUT_S = 5.0


class _WatchedProtocol(H2Protocol):
    """Lets the kernel notice that the control plane is gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        super().connection_made(cast(asyncio.Transport, transport))


class _WatchedChannel(Channel):
    def _protocol_factory(self) -> H2Protocol:
        return _WatchedProtocol(Handler(), self._config, self._h2_config)

    def request(self, name: str, cardinality: Cardinality, request_type: Any, reply_type: Any, **more: Any) -> Any:
        call = super().request(name, cardinality, request_type, reply_type, **more)
        # There is no other way to choose the class of a call; this one adds no state.
        call.__class__ = BoundedCall
        return call


def open_channel(settings: ControlPlaneSettings, endpoint: Endpoint, roots: bytes | None = None) -> Channel:
    """Returns a channel that connects at its first call.

    Args:
        roots: whom to believe, PEM; None: the trust bundle is read now.
    Raises:
        CredentialError: the trust bundle cannot be read.
    """
    host, port = endpoint
    # grpclib says that the override is for tests; it is how a name other than the host is verified.
    config = Configuration(ssl_target_name_override=settings.server_name)
    return _WatchedChannel(host, port, ssl=_client_context(read_roots(settings.root_cert) if roots is None else roots), config=config)


def bearer(token: Path) -> dict[str, str]:
    """Returns the metadata that proves this node to the control plane, from the token's file as it is now.

    Raises:
        CredentialError: the file cannot be read or is empty.
    """
    try:
        text = token.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"token {token}: {getattr(error, 'strerror', 'not ASCII')}") from None
    if not text or not text.isprintable():
        raise CredentialError(f"token {token}: empty or not printable")
    return {"authorization": f"Bearer {text}"}


def read_roots(root_cert: Path) -> bytes:
    """Returns the trust bundle, PEM. Raises CredentialError when it cannot be read."""
    try:
        return root_cert.read_bytes()
    except OSError as error:
        raise CredentialError(f"trust bundle {root_cert}: {error.strerror}") from None


def describe(error: BaseException) -> str:
    """Returns a clause for the log."""
    if isinstance(error, GRPCError):
        return f"{error.status.name}: {error.message}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, MeshError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _client_context(roots: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=roots.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise CredentialError(f"trust bundle: {error}") from None
    return context
