"""The certificate service: who may have a certificate for whom, and the call that hands it out."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf.message import DecodeError

from controlplane.authority import Authority, Issuer, issue_workload
from controlplane.node_rates import NodeRates
from controlplane.placement import Placement
from controlplane.requests import read_csr
from controlplane.status import Status, grpc_code
from controlplane.tokens import Authenticator, Caller
from mesh.errors import CredentialError, RemoteProtocolError
from mesh.identity import Identity, parse_identity
from mesh.wire import ca_pb2

_log = structlog.get_logger()
SERVICE = "istio.v1.auth.IstioCertificateService"
IDENTITY_FIELD = "ImpersonatedIdentity"
# A CSR and some metadata; a message may be much larger than that, for streams have the same limit.
MAX_REQUEST_LENGTH = 65_536
# It comes with the call's headers, or one packet later.
MESSAGE_WITHIN_S = 5.0
# Characters of what a caller sent that a log line shows.
_MAX_LOGGED = 256


def read_request(message: bytes) -> ca_pb2.IstioCertificateRequest:
    """Reads a call's message. Raises RemoteProtocolError: INVALID_ARGUMENT."""
    if len(message) > MAX_REQUEST_LENGTH:
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, f"the request is longer than {MAX_REQUEST_LENGTH}")
    try:
        return ca_pb2.IstioCertificateRequest.FromString(message)
    except DecodeError:
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, "the request is malformed") from None


def asked_identity(request: ca_pb2.IstioCertificateRequest) -> Identity:
    """Reads whose certificate is asked for.

    Raises:
        RemoteProtocolError: INVALID_ARGUMENT. A node proxy has no identity of its own on the wire, so it must name one.
    """
    field = request.metadata.fields.get(IDENTITY_FIELD)
    if field is None or field.WhichOneof("kind") != "string_value":
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, f"metadata lacks {IDENTITY_FIELD}")
    try:
        return parse_identity(field.string_value)
    except CredentialError as error:
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, str(error)) from None


def authorise(caller: Caller, identity: Identity, placement: Placement) -> None:
    """Lets a node have certificates for the pods that it runs, and for no others.

    Raises:
        RemoteProtocolError: UNAVAILABLE while nobody knows yet, PERMISSION_DENIED when the node runs no such pod.
    """
    if not placement.known:
        raise RemoteProtocolError(Status.UNAVAILABLE, "no snapshot yet")
    if not placement.runs(caller.node, identity):
        raise RemoteProtocolError(Status.PERMISSION_DENIED, f"node {caller.node} runs no pod of {str(identity)[:_MAX_LOGGED]}")


def sign(
    request: ca_pb2.IstioCertificateRequest, identity: Identity, issuer: Issuer, longest: dt.timedelta, now: dt.datetime
) -> x509.Certificate:
    """Signs the request for an identity that the caller may have.

    Args:
        longest: the longest lifetime that is signed; a request without a duration gets it.
    Raises:
        RemoteProtocolError: INVALID_ARGUMENT and what is wrong with the CSR or the duration; UNAVAILABLE when the issuer has ended.
    """
    if request.validity_duration < 0:
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, "the validity duration is negative")
    longest_s = int(longest.total_seconds())
    lifetime = dt.timedelta(seconds=min(request.validity_duration or longest_s, longest_s))
    try:
        key = read_csr(request.csr, identity)
    except CredentialError as error:
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, str(error)) from None
    try:
        return issue_workload(issuer, key, identity, lifetime, now)
    except CredentialError as error:
        raise RemoteProtocolError(Status.UNAVAILABLE, str(error)) from None


class CertificateService:
    """istio.v1.auth.IstioCertificateService.

    Nobody's message is waited for before it is known who calls: calls that wait are counted, and nodes would get no turn.

    Args:
        authority: gives the authority in force.
        longest: the longest lifetime that is signed.
    """

    def __init__(
        self,
        authority: Callable[[], Authority],
        placement: Placement,
        authenticator: Authenticator,
        longest: dt.timedelta,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._authority = authority
        self._placement = placement
        self._authenticator = authenticator
        self._longest = longest
        self._clock = clock
        self._rates = NodeRates()

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """Returns what a server is to serve."""
        # As a stream of one message it is the same on the wire, and the message is read when it is asked for.
        method = grpc.stream_unary_rpc_method_handler(self._serve_call, None, ca_pb2.IstioCertificateResponse.SerializeToString)
        return grpc.method_handlers_generic_handler(SERVICE, {"CreateCertificate": method})

    async def _serve_call(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> ca_pb2.IstioCertificateResponse:
        log = _log.bind(peer=context.peer())
        try:
            caller = await self._authenticator.authenticate(context.invocation_metadata() or ())
            log = log.bind(node=caller.node)
            if not self._rates.allow(caller.node, time.monotonic()):
                raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"node {caller.node} asks for too many certificates")
            request = read_request(await _receive(context))
            identity = asked_identity(request)
            log = log.bind(identity=str(identity)[:_MAX_LOGGED])
            authorise(caller, identity, self._placement)
            authority = self._authority()
            certificate = sign(request, identity, authority.issuer, self._longest, self._clock())
        except CredentialError as error:
            log.warning("certificate_refused", code="UNAUTHENTICATED", reason=str(error))
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except RemoteProtocolError as error:
            code = grpc_code(error.status)
            log.warning("certificate_refused", code=code.name, reason=error.reason)
            await context.abort(code, error.reason)
        log.info("certificate_issued", serial=f"{certificate.serial_number:x}", until=certificate.not_valid_after_utc.isoformat())
        leaf = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ca_pb2.IstioCertificateResponse(cert_chain=[leaf, *authority.reply_chain])


async def _receive(context: Any) -> bytes:
    """Returns the call's message. Raises RemoteProtocolError: INVALID_ARGUMENT, there is none."""
    try:
        async with asyncio.timeout(MESSAGE_WITHIN_S):
            message = await context.read()
    except TimeoutError:
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, f"no message within {MESSAGE_WITHIN_S} s") from None
    if not isinstance(message, bytes):
        raise RemoteProtocolError(Status.INVALID_ARGUMENT, "a call without a message")
    return message
