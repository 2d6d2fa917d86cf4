"""TLS contexts from credentials in memory."""

import hashlib
import os
import ssl
from dataclasses import dataclass
from typing import cast

from mesh.errors import CredentialError
from ztunnel.engine.interface import Credentials
from ztunnel.engine.python.revocation import Revocations, read_revocations

ALPN = "h2"


@dataclass(frozen=True, slots=True)
class Contexts:
    """What opens and what accepts tunnels under one identity, and whom it does not hear.

    `basis` is a digest of what the contexts are made of; lists are not part of it.
    """

    client: ssl.SSLContext
    server: ssl.SSLContext
    revocations: Revocations
    basis: bytes


def make_contexts(credentials: Credentials, before: Contexts | None = None) -> Contexts:
    """Builds both contexts: TLS 1.3 alone, both ends prove themselves, ALPN h2.

    Args:
        before: what the identity has so far; its contexts are kept where nothing but the lists is new.
    Raises:
        CredentialError: chain, key, roots and lists do not fit together or cannot be read.
    """
    parts = (credentials.certificate_chain, credentials.private_key, credentials.roots)
    basis = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    try:
        if before is not None and before.basis == basis:
            client, server = before.client, before.server
        else:
            client, server = _context(ssl.PROTOCOL_TLS_CLIENT, credentials), _context(ssl.PROTOCOL_TLS_SERVER, credentials)
    except (ssl.SSLError, ValueError) as error:
        raise CredentialError(f"unusable credentials: {error}") from error
    revocations = read_revocations(credentials.revoked, credentials.roots + b"\n" + credentials.certificate_chain)
    return Contexts(client, server, revocations, basis)


def _context(protocol: int, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    # Identities are SPIFFE URIs, which the caller checks; there is no host name in a tunnel.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    context.load_verify_locations(cadata=credentials.roots.decode("ascii"))
    _load_chain(context, credentials)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        # Tunnels are few and long: nobody resumes them, and a ticket would be one more secret.
        context.num_tickets = 0
    return context


def _load_chain(context: ssl.SSLContext, credentials: Credentials) -> None:
    """The ssl module reads keys from files only: give it one that exists in memory alone."""
    fd = os.memfd_create("credentials", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(credentials.private_key + b"\n" + credentials.certificate_chain)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def peer_identity(tls: ssl.SSLObject) -> str:
    """The SPIFFE URI that the peer's verified certificate names.

    Raises:
        CredentialError: it names none, or more than one (SPIFFE X509-SVID, section 2).
    """
    certificate = tls.getpeercert()
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()) if certificate else ())
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise CredentialError(f"the peer's certificate names {len(uris)} URIs, not one SPIFFE identity")
    return uris[0]
