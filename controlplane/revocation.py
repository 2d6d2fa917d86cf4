"""Revocation lists: read and checked before they are handed on, or signed for the self-made roots. No I/O."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.authority import BACKDATED, Issuer
from mesh.errors import ConfigError
from mesh.pem import split_pem
from mesh.signatures import UNREADABLE, signed_by

# A list is signed anew at half of this. That a node gets none for a week is somebody's attack or an outage that is known.
LIST_LIFETIME = dt.timedelta(days=14)
# Each node reads them all: 36 bytes an entry. More than this is a root to be rotated.
MAX_REVOKED = 10_000
# Of an authority and its roots, one each; nodes take 32.
MAX_LISTS = 16
# Source: RFC 5280, section 4.1.2.2: a serial is positive and has at most 20 octets.
MAX_SERIAL_BITS = 159


def read_lists(pem: bytes, key: str) -> tuple[x509.CertificateRevocationList, ...]:
    """Reads lists that stand one after the other, with any text between them.

    Args:
        key: the file's name, for the error.
    Raises:
        ConfigError: one cannot be read, there are too many, or something begins that does not end.
    """
    try:
        lists = tuple(map(x509.load_pem_x509_crl, split_pem(pem, "X509 CRL")))
        for one in lists:
            # Read lazily; what is broken inside must show now.
            _ = one.issuer, one.extensions, one.last_update_utc, [entry.serial_number for entry in one]
    except UNREADABLE:
        raise ConfigError(key, "unreadable", "whole PEM revocation lists and nothing else") from None
    if len(lists) > MAX_LISTS or (pem.strip() and not lists):
        raise ConfigError(key, f"{len(lists)} revocation lists", f"1 to {MAX_LISTS} PEM revocation lists, or an empty file")
    return lists


def check_lists(pem: bytes, authorities: Iterable[x509.Certificate], key: str) -> None:
    """Lets only lists through that one of the authorities signed.

    Raises:
        ConfigError: as read_lists does, or a list is of nobody here.
    """
    known = tuple(authorities)
    for one in read_lists(pem, key):
        if not any(signed_by(one, authority) for authority in known):
            raise ConfigError(key, one.issuer.rfc4514_string()[:256], "lists that the authority or one of its roots has signed")


def read_serials(text: str, key: str) -> frozenset[int]:
    """Reads serials to be revoked: hexadecimal, one a line as the logs show them; colons and "#" comments are allowed.

    Raises:
        ConfigError: a line is something else; it is named.
    """
    serials = set()
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip().replace(":", "")
        if not word:
            continue
        if not re.fullmatch(r"[0-9A-Fa-f]{1,48}", word) or not 0 < int(word, 16) < 1 << MAX_SERIAL_BITS:
            raise ConfigError(f"{key}:{number}", line[:64], "a serial in hexadecimal, at most 20 bytes")
        serials.add(int(word, 16))
    if len(serials) > MAX_REVOKED:
        raise ConfigError(key, f"{len(serials)} serials", f"at most {MAX_REVOKED}")
    return frozenset(serials)


def sign_lists(issuers: Sequence[Issuer], serials: frozenset[int], now: dt.datetime) -> bytes:
    """Returns a list of each issuer, PEM; b"" when nothing is revoked.

    A serial does not say whose it is, so that each list has them all: they are random, and name nobody else.
    """
    return b"".join(_sign(issuer, serials, now) for issuer in issuers) if serials else b""


def still_good(pem: bytes, issuers: Sequence[Issuer], serials: frozenset[int], now: dt.datetime) -> bool:
    """Says whether lists that were signed before, by another replica perhaps, say what is to be said, and for long enough."""
    try:
        lists = read_lists(pem, "")
    except ConfigError:
        return False
    if not serials:
        return not pem
    return len(lists) == len(issuers) and all(
        signed_by(one, issuer.certificate) and _serials(one) == serials and _fresh(one, now)
        for one, issuer in zip(lists, issuers, strict=True)
    )


def _sign(issuer: Issuer, serials: frozenset[int], now: dt.datetime) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(now - BACKDATED).next_update(now + LIST_LIFETIME)
    # Numbers must grow, whichever replica signs. Source: RFC 5280, section 5.2.3.
    builder = builder.add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
    builder = builder.add_extension(issuer.identifier, critical=False)
    for serial in sorted(serials):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - BACKDATED)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, issuer.digest).public_bytes(Encoding.PEM)


def _serials(one: x509.CertificateRevocationList) -> frozenset[int]:
    return frozenset(entry.serial_number for entry in one)


def _fresh(one: x509.CertificateRevocationList, now: dt.datetime) -> bool:
    end = one.next_update_utc
    return end is not None and end - now > LIST_LIFETIME / 2
