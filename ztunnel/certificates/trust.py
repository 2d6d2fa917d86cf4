"""Whom this node believes: the roots of the trust bundle, and what is revoked. Pure.

What comes from the files is checked here once, so that a file that is half written or wrong never reaches an engine.
"""

import functools
from dataclasses import dataclass

from cryptography import x509

from mesh.errors import CredentialError
from mesh.pem import split_pem
from mesh.signatures import UNREADABLE, issued, signed_by

# A rotation has two roots, a federation a few; it bounds what each handshake may have to look through.
MAX_ROOTS = 32
MAX_LISTS = 32
# What a change brings is asked about each identity of the node, and large lists take 50 ms to read: what was, and what is.
MAX_READINGS = 2


@dataclass(frozen=True, slots=True)
class Trust:
    """Both in PEM, as Credentials has them; `revoked` is b"" where there are no lists."""

    roots: bytes
    revoked: bytes = b""


def read_trust(roots: bytes, revoked: bytes) -> Trust:
    """Takes a bundle and its lists only when all of both can be read, and no root's list is somebody else's work.

    Raises:
        CredentialError: which of the two cannot be used, and why.
    """
    authorities = read_roots(roots)
    for one in read_lists(revoked):
        claimed = [authority for authority in authorities if _claims(one, authority)]
        if claimed and not any(signed_by(one, authority) for authority in claimed):
            raise CredentialError(f"revocation lists: {one.issuer.rfc4514_string()[:256]} has not signed its list")
    return Trust(roots, revoked)


def read_roots(pem: bytes) -> list[x509.Certificate]:
    """Reads a trust bundle. Raises CredentialError."""
    try:
        roots = [x509.load_pem_x509_certificate(block) for block in split_pem(pem, "CERTIFICATE")]
        for root in roots:
            # Read lazily; what is broken inside must show now.
            _ = root.subject, root.extensions, root.public_key()
    except UNREADABLE as error:
        raise CredentialError(f"the trust bundle cannot be read: {error}") from None
    if not 1 <= len(roots) <= MAX_ROOTS:
        raise CredentialError(f"the trust bundle holds {len(roots)} certificates, expected 1 to {MAX_ROOTS}")
    return roots


def why_untrusted(chain: bytes, trust: Trust) -> str:
    """Says why peers that believe this no longer believe a chain of ours; "" while they do.

    Args:
        chain: PEM, leaf first, without the root.
    """
    certificates, roots = x509.load_pem_x509_certificates(chain), read_roots(trust.roots)
    if not any(issued(certificates[-1], root) for root in roots):
        return "its root has left the trust bundle"
    lists = read_lists(trust.revoked)
    for certificate, above in zip(certificates, (*certificates[1:], None), strict=True):
        issuers = [above] if above is not None else [root for root in roots if issued(certificate, root)]
        for one in lists:
            revoked = one.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
            if revoked and any(signed_by(one, issuer) for issuer in issuers):
                return f"certificate {certificate.serial_number:x} is revoked"
    return ""


@functools.lru_cache(MAX_READINGS)
def read_lists(pem: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Reads revocation lists, none of them in an empty file. Raises CredentialError."""
    try:
        lists = tuple(x509.load_pem_x509_crl(block) for block in split_pem(pem, "X509 CRL"))
        for one in lists:
            _ = one.issuer, one.extensions, [entry.serial_number for entry in one]
    except UNREADABLE as error:
        raise CredentialError(f"revocation lists cannot be read: {error}") from None
    if len(lists) > MAX_LISTS or (pem.strip() and not lists):
        raise CredentialError(f"revocation lists: found {len(lists)}, expected 1 to {MAX_LISTS}, or an empty file")
    return lists


def _claims(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Says whether a list is in the name of an authority. Roots of one name differ by their key's identifier."""
    if one.issuer != authority.subject:
        return False
    try:
        named = one.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return True
    return named is None or named == own
