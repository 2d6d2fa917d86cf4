"""The certificate authority's client: requests, and checked certificates."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from grpclib.client import Channel

import mesh.wire.ca_pb2 as pb
from mesh.errors import CredentialError
from mesh.identity import Identity
from mesh.wire.ca_grpc import IstioCertificateServiceStub
from ztunnel.certificates.request import Certificate, check_reply, make_request
from ztunnel.certificates.trust import Trust
from ztunnel.config import ControlPlaneSettings
from ztunnel.control_plane import bearer, open_channel

# Connecting, signing and both ways back; a CA that takes longer is away.
TIMEOUT_S = 10.0
# A node that starts asks for all its pods' certificates, one after the other; then twice a day for each. A handshake costs the CA as
# much as the rest of a call, an idle connection costs memory on both sides: it is kept for a burst and its retries.
IDLE_S = 10.0


class _Connection:
    """A channel, who uses it, and whom it believes."""

    def __init__(self, channel: Channel, roots: bytes) -> None:
        self.channel = channel
        self.roots = roots
        self.calls = 0
        self.retired = False

    def close_if_unused(self) -> None:
        if self.retired and not self.calls:
            self.channel.close()


class CertificateClient:
    """Asks the CA; used from one event loop, for several calls at a time. An async context: it leaves no connection behind.

    Args:
        trust: says what the node believes now; it is asked before a call, and again before the reply is believed.
    """

    def __init__(self, settings: ControlPlaneSettings, trust: Callable[[], Trust]) -> None:
        self._settings = settings
        self._trust = trust
        self._connection: _Connection | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._retire()

    async def fetch(self, identity: Identity) -> Certificate:
        """Asks for a certificate of a pod's identity, with a fresh key.

        Raises:
            one of ztunnel.control_plane.CALL_ERRORS; a CredentialError when the reply is not what was asked for.
        """
        request = make_request(identity)
        message = pb.IstioCertificateRequest(csr=request.csr, validity_duration=self._settings.certificate_lifetime_s)
        message.metadata["ImpersonatedIdentity"] = str(identity)
        async with self._channel() as channel:
            stub = IstioCertificateServiceStub(channel)
            async with stub.CreateCertificate.open(timeout=TIMEOUT_S, metadata=bearer(self._settings.auth_token)) as call:
                await call.send_message(message, end=True)
                reply = await call.recv_message()
        if reply is None:
            raise CredentialError("the CA answered nothing")
        return check_reply(request, identity, list(reply.cert_chain), self._trust(), time.time())

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Channel]:
        """Lends the connection. After a failure the next call has another: nobody knows what is left of this one."""
        connection = self._connect()
        connection.calls += 1
        try:
            yield connection.channel
        except Exception:
            if connection is self._connection:
                self._retire()
            raise
        finally:
            connection.calls -= 1
            connection.close_if_unused()
            if connection is self._connection and not connection.calls:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._retire)

    def _connect(self) -> _Connection:
        roots = self._trust().roots
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._connection is not None and self._connection.roots != roots:
            self._retire()
        if self._connection is None:
            self._connection = _Connection(open_channel(self._settings, self._settings.ca, roots), roots)
        return self._connection

    def _retire(self) -> None:
        """No new call uses the connection; those under way go on."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.retired = True
            connection.close_if_unused()
