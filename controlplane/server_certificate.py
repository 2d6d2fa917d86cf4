"""The control plane's own certificate: signed by the authority in force, in memory only, renewed while the server runs."""

import datetime as dt
from collections.abc import Callable

import grpc
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authority import Authority, Issuer, issue_server
from mesh.errors import CredentialError

SERVER_NAME = "controlplane.ambient"

_log = structlog.get_logger()


class ServerCertificate:
    """Issues the certificate, and the next one at half of its life or when another issuer signs.

    Args:
        authority: gives the authority in force.
        lifetime: as a workload's: the key never leaves the process, and each handshake may bring a new one.
    """

    def __init__(self, authority: Callable[[], Authority], lifetime: dt.timedelta, clock: Callable[[], dt.datetime]) -> None:
        self._authority = authority
        self._lifetime = lifetime
        self._clock = clock
        self._issued = self._renewal = clock()
        self._issuer: Issuer | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what gRPC serves with. Raises CredentialError when the issuer has ended."""
        return grpc.dynamic_ssl_server_credentials(self._issue(), self._renewed)  # type: ignore[arg-type]  # None is allowed

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, from a thread of its own; None keeps what there is."""
        # A clock that was ahead when it was issued is put right some time: what is there is then not valid yet.
        if self._issued <= self._clock() < self._renewal and self._authority().issuer is self._issuer:
            return None
        try:
            return self._issue()
        except CredentialError as error:
            # Nodes will not believe what there is either; the log says why.
            _log.error("server_certificate_not_renewed", reason=str(error))
            return None

    def _issue(self) -> grpc.ServerCertificateConfiguration:
        now, issuer = self._clock(), self._authority().issuer
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = issue_server(issuer, key.public_key(), SERVER_NAME, self._lifetime, now)
        self._issued, self._renewal, self._issuer = now, now + (certificate.not_valid_after_utc - now) / 2, issuer
        form, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
        chain = b"".join(one.public_bytes(pem) for one in (certificate, *issuer.above))
        return grpc.ssl_server_certificate_configuration([(key.private_bytes(pem, form, serialization.NoEncryption()), chain)])
