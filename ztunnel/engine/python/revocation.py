"""Certificate revocation lists: what they say, of whom, and whether a peer is among them.

OpenSSL could look at lists by itself, but it then demands one of every authority, and one that has not run out. Our contract is another:
a list binds its own issuer only, whoever has none is not checked, and a list that has run out still binds. So peers are looked up here,
by their verified chain, after the handshake and before anything is carried.
"""

import functools
import itertools
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.errors import CredentialError

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
# Issuers whose lists are remembered as theirs. A mesh has a handful; a stolen intermediate authority can make any number.
MAX_ISSUERS = 64
# The same lists come with the credentials of every identity of the node, and again with each rotation: read them once.
MAX_READINGS = 4
# _ssl.ENCODING_DER: what public_bytes of a certificate takes, before Python 3.13.
_DER = 2


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """One list; `serials` are the numbers of the certificates that its issuer has revoked."""

    crl: x509.CertificateRevocationList
    issuer: x509.Name
    key_id: bytes | None
    serials: frozenset[int]

    def claims(self, authority: x509.Certificate) -> bool:
        """Whether it says that this authority issued it. Authorities of one name, as after a rotation, differ by their key's identifier."""
        if self.issuer != authority.subject:
            return False
        own = _key_id(authority)
        return self.key_id is None or own is None or own == self.key_id

    def binds(self, authority: x509.Certificate) -> bool:
        """Whether this authority did issue it."""
        if self.issuer != authority.subject:
            return False
        try:
            return self.crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # other kinds of keys raise TypeError
        except (TypeError, ValueError, UnsupportedAlgorithm):
            return False


class Revocations:
    """Lists that came together; identities that were given the same ones share this."""

    __slots__ = ("_by_issuer", "lists")

    def __init__(self, lists: Sequence[RevocationList]) -> None:
        self.lists = lists
        self._by_issuer: dict[bytes, tuple[RevocationList, ...]] = {}

    def reason_against(self, tls: ssl.SSLObject) -> str:
        """Why the peer of this connection may not be heard; "" when no list names it or an authority above it."""
        if not self.lists:
            return ""
        chain = _verified_chain(tls)
        if not chain:
            return "the peer's chain is not known, so that no list can be asked"
        try:
            for certificate, issuer in itertools.pairwise(chain):
                serial = x509.load_der_x509_certificate(certificate).serial_number
                if any(serial in found.serials for found in self.of(issuer)):
                    return f"the certificate {serial:x} is revoked"
        except ValueError as error:
            return f"the peer's chain cannot be read, so that no list can be asked: {error}"
        return ""

    def of(self, issuer: bytes) -> tuple[RevocationList, ...]:
        """The lists of an issuer.

        Args:
            issuer: its certificate in DER, verified.
        """
        known = self._by_issuer.get(issuer)
        if known is None:
            if len(self._by_issuer) >= MAX_ISSUERS:
                self._by_issuer.clear()
            authority = x509.load_der_x509_certificate(issuer)
            known = self._by_issuer[issuer] = tuple(found for found in self.lists if found.binds(authority))
        return known


NO_LISTS = Revocations(())


def read_revocations(pem: bytes, authorities: bytes) -> Revocations:
    """Reads lists, one after the other, and checks those of known authorities.

    Args:
        authorities: PEM of the certificates that are known now: the trust bundle and our own chain. A list of another one is kept, and
            binds the peers whose chain shows that authority.
    Raises:
        CredentialError: there is something else than lists, or a list that would have to be understood differently (of changes only, of
            several issuers), or one in the name of a known authority that it did not sign.
    """
    revocations = _read(pem)
    if revocations.lists:
        try:
            known = x509.load_pem_x509_certificates(authorities)
            _expect_genuine(revocations, [(authority, revocations.of(authority.public_bytes(Encoding.DER))) for authority in known])
        except ValueError as error:
            raise CredentialError(f"unusable credentials: {error}") from error
    return revocations


def _expect_genuine(revocations: Revocations, known: list[tuple[x509.Certificate, tuple[RevocationList, ...]]]) -> None:
    for found in revocations.lists:
        claimed = [bound for authority, bound in known if found.claims(authority)]
        if claimed and not any(found in bound for bound in claimed):
            raise CredentialError(f"revocation list of {found.issuer.rfc4514_string()}: not signed by it")


@functools.lru_cache(MAX_READINGS)
def _read(pem: bytes) -> Revocations:
    blocks: list[bytes] = _LIST.findall(pem)
    if len(blocks) != pem.count(b"-----BEGIN") or (pem.strip() and not blocks):
        raise CredentialError("not a sequence of revocation lists in PEM")
    try:
        return Revocations([_read_one(block) for block in blocks])
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CredentialError(f"unusable revocation list: {error}") from error


def _read_one(block: bytes) -> RevocationList:
    crl = x509.load_pem_x509_crl(block)
    issuer, key_id = crl.issuer, None
    for extension in crl.extensions:
        if isinstance(extension.value, x509.AuthorityKeyIdentifier):
            key_id = extension.value.key_identifier
        elif extension.critical and not _only_a_part(extension.value):
            # RFC 5280 section 5.2: what is critical and not understood makes the list unusable.
            raise ValueError(f"extension {extension.oid.dotted_string} of {issuer.rfc4514_string()} is not supported")
    return RevocationList(crl, issuer, key_id, frozenset(revoked.serial_number for revoked in crl))


def _only_a_part(value: x509.ExtensionType) -> bool:
    """A list of some of its issuer's certificates: what it names is revoked all the same (RFC 5280 section 5.2.5)."""
    return isinstance(value, x509.IssuingDistributionPoint) and not value.indirect_crl


def _key_id(authority: x509.Certificate) -> bytes | None:
    try:
        return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return None


def _verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The chain in DER that OpenSSL has verified, from the peer's certificate to the root. Before Python 3.13 only the C object tells."""
    public: Callable[[], list[bytes]] | None = getattr(tls, "get_verified_chain", None)
    if public is not None:
        return public()
    inner = cast("Any", tls)._sslobj
    return [certificate.public_bytes(_DER) for certificate in inner.get_verified_chain() or ()]
