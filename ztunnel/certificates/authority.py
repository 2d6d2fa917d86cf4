"""The certificate authority's client: one request, one checked certificate."""

import time
from collections.abc import Callable

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


async def fetch_certificate(settings: ControlPlaneSettings, identity: Identity, trust: Callable[[], Trust]) -> Certificate:
    """Asks the CA for a certificate of a pod's identity, with a fresh key.

    Each call has its own connection: there are two calls a day, and an idle connection costs more than a handshake.

    Args:
        trust: says what the node believes now; it is asked before the call, and again before the reply is believed.
    Raises:
        one of ztunnel.control_plane.CALL_ERRORS; a CredentialError when the reply is not what was asked for.
    """
    request = make_request(identity)
    message = pb.IstioCertificateRequest(csr=request.csr, validity_duration=settings.certificate_lifetime_s)
    message.metadata["ImpersonatedIdentity"] = str(identity)
    async with open_channel(settings, settings.ca, trust().roots) as channel:
        stub = IstioCertificateServiceStub(channel)
        async with stub.CreateCertificate.open(timeout=TIMEOUT_S, metadata=bearer(settings.auth_token)) as call:
            await call.send_message(message, end=True)
            reply = await call.recv_message()
    if reply is None:
        raise CredentialError("the CA answered nothing")
    return check_reply(request, identity, list(reply.cert_chain), trust(), time.time())
