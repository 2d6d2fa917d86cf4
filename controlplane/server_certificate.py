"""The control plane's own certificate: signed by the root, in memory only, renewed while the server runs."""

import datetime as dt
from collections.abc import Callable

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authority import Root, issue_server

SERVER_NAME = "controlplane.ambient"
# As short as a workload's: the key never leaves the process, and each handshake may bring a new one.
LIFETIME = dt.timedelta(hours=24)


class ServerCertificate:
    """Issues the certificate and, at half of its life, the next one."""

    def __init__(self, root: Root, clock: Callable[[], dt.datetime]) -> None:
        self._root = root
        self._clock = clock
        self._renewal = clock()

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(self._issue(), self._renewed)  # type: ignore[arg-type]  # None is allowed

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, from a thread of its own; None keeps what there is."""
        return self._issue() if self._clock() >= self._renewal else None

    def _issue(self) -> grpc.ServerCertificateConfiguration:
        now = self._clock()
        self._renewal = now + LIFETIME / 2
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = issue_server(self._root, key.public_key(), SERVER_NAME, LIFETIME, now)
        form, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
        chain = certificate.public_bytes(pem) + self._root.certificate_pem
        return grpc.ssl_server_certificate_configuration([(key.private_bytes(pem, form, serialization.NoEncryption()), chain)])
