"""Revocation lists: whom they bind, and what is not a list."""

import base64
import ssl
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.errors import CredentialError
from tests.netns.engine import tls
from tests.netns.engine.certificates import EXPIRED, Authority, serial_number_of
from ztunnel.engine.interface import Credentials
from ztunnel.engine.python import revocation
from ztunnel.engine.python.credentials import make_contexts
from ztunnel.engine.python.revocation import Revocations, read_revocations

PEER_ID = "spiffe://cluster.local/ns/default/sa/peer"
OURS_ID = "spiffe://cluster.local/ns/default/sa/ours"
ROOT = Authority()
# The same name, another key: as after a rotation.
NEXT_ROOT = Authority()
INTERMEDIATE = Authority(ROOT)
SERIAL = 0x5EED


def handshake(peer: Credentials, *, roots: bytes, peer_is_server: bool = True) -> ssl.SSLObject:
    """Our side of a connection with this peer, whose chain OpenSSL has verified."""
    ours = make_contexts(replace(ROOT.issue(OURS_ID), roots=roots))
    theirs = tls.server_context(replace(peer, roots=ROOT.root)) if peer_is_server else tls.client_context(ROOT.root, peer)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    our_end = (ours.client if peer_is_server else ours.server).wrap_bio(to_us, to_them, server_side=not peer_is_server)
    their_end = theirs.wrap_bio(to_them, to_us, server_side=peer_is_server)
    for _ in range(4):
        for end in (our_end, their_end):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return our_end


def reason(peer: Credentials, lists: bytes, *, roots: bytes = ROOT.root + NEXT_ROOT.root) -> str:
    """The same on both ends of a tunnel."""
    reasons = {
        read_revocations(lists, roots).reason_against(handshake(peer, roots=roots, peer_is_server=peer_is_server))
        for peer_is_server in (True, False)
    }
    assert len(reasons) == 1
    return reasons.pop()


NAMED = {
    "named": (ROOT, ROOT.revoke(SERIAL)),
    "among others": (ROOT, ROOT.revoke(1, SERIAL, 2)),
    "in a list that has run out": (ROOT, ROOT.revoke(SERIAL, validity=EXPIRED)),
    "in the second list of the issuer": (ROOT, ROOT.revoke(1) + ROOT.revoke(SERIAL)),
    "in the older of two lists": (ROOT, ROOT.revoke(SERIAL, validity=EXPIRED) + ROOT.revoke()),
    "in a list without key identifier": (ROOT, ROOT.revoke(SERIAL, key_id=False)),
    "by the next root": (NEXT_ROOT, ROOT.revoke() + NEXT_ROOT.revoke(SERIAL)),
    "by an intermediate that only the peer shows": (INTERMEDIATE, INTERMEDIATE.revoke(SERIAL)),
    "by way of its intermediate": (INTERMEDIATE, ROOT.revoke(INTERMEDIATE.certificate.serial_number)),
    "in a partial list": (
        ROOT,
        ROOT.revoke(SERIAL, also=[(x509.IssuingDistributionPoint(None, None, True, False, None, False, False), True)]),
    ),
    "in a list with words around it": (ROOT, b"the list of today:\n" + ROOT.revoke(SERIAL) + b"\n\n"),
}
NOT_NAMED = {
    "no lists": (ROOT, b""),
    "an empty list": (ROOT, ROOT.revoke()),
    "others": (ROOT, ROOT.revoke(1, 2, 3)),
    "no list of its issuer": (ROOT, NEXT_ROOT.revoke(1)),
    "its number in the list of a namesake of its issuer": (ROOT, NEXT_ROOT.revoke(SERIAL)),
    "its number in the list of a namesake without key identifier": (ROOT, NEXT_ROOT.revoke(SERIAL, key_id=False)),
    "its number in the list of the root above its issuer": (INTERMEDIATE, ROOT.revoke(SERIAL)),
    "its number in the list of a stranger": (ROOT, Authority(Authority()).revoke(SERIAL)),
    "an intermediate's list that somebody else signed": (INTERMEDIATE, INTERMEDIATE.revoke(SERIAL, signer=NEXT_ROOT)),
}


@pytest.mark.parametrize("kind", NAMED)
def test_revoked(kind: str) -> None:
    issuer, lists = NAMED[kind]
    assert "revoked" in reason(issuer.issue(PEER_ID, serial=SERIAL), lists)


@pytest.mark.parametrize("kind", NOT_NAMED)
def test_not_revoked(kind: str) -> None:
    issuer, lists = NOT_NAMED[kind]
    assert reason(issuer.issue(PEER_ID, serial=SERIAL), lists) == ""


def test_a_list_of_a_root_that_left_the_bundle_disturbs_nobody() -> None:
    """During a rotation the bundle and the lists are not changed at the same moment."""
    assert reason(ROOT.issue(PEER_ID, serial=SERIAL), NEXT_ROOT.revoke(SERIAL), roots=ROOT.root) == ""


def test_a_peer_whose_chain_is_not_known_is_not_heard() -> None:
    """As after a resumption, of which there is none."""
    never_shaken = make_contexts(ROOT.issue(OURS_ID)).client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    assert read_revocations(ROOT.revoke(SERIAL), ROOT.root).reason_against(never_shaken) != ""
    assert read_revocations(b"", ROOT.root).reason_against(never_shaken) == ""


BAD_LISTS = {
    "no PEM": b"no list",
    "DER": base64.b64decode(b"".join(ROOT.revoke().splitlines()[1:-1])),
    "no base64": b"-----BEGIN X509 CRL-----\n!!!\n-----END X509 CRL-----\n",
    "nothing inside": b"-----BEGIN X509 CRL-----\n\n-----END X509 CRL-----\n",
    "without an end": ROOT.revoke()[:-10],
    "cut short": b"".join(ROOT.revoke().splitlines(keepends=True)[:3]) + b"-----END X509 CRL-----\n",
    "a certificate": ROOT.root,
    "a certificate after a good one": ROOT.revoke() + ROOT.root,
    "a bad one after a good one": ROOT.revoke() + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    "forged": ROOT.revoke(SERIAL, signer=NEXT_ROOT),
    "forged, without key identifier": ROOT.revoke(SERIAL, signer=Authority(), key_id=False),
    "of changes only": ROOT.revoke(also=[(x509.DeltaCRLIndicator(1), True)]),
    "of several issuers": ROOT.revoke(also=[(x509.IssuingDistributionPoint(None, None, False, False, None, True, False), True)]),
    "critical and unknown": ROOT.revoke(also=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True)]),
}


@pytest.mark.parametrize("kind", BAD_LISTS)
def test_not_a_list(kind: str) -> None:
    with pytest.raises(CredentialError):
        read_revocations(BAD_LISTS[kind], ROOT.root)


A_LIST = ROOT.revoke(*range(1, 20))
A_LIST_DER = base64.b64decode(b"".join(A_LIST.splitlines()[1:-1]))


@example(position=34, value=0, length=len(A_LIST_DER))  # its issuer's name cannot be read
@example(position=8, value=0, length=len(A_LIST_DER))  # its version is none
@given(
    position=st.integers(0, len(A_LIST_DER) - 1),
    value=st.integers(0, 255),
    length=st.just(len(A_LIST_DER)) | st.integers(0, len(A_LIST_DER)),
)
def test_a_damaged_list_is_refused_and_nothing_else_is_raised(position: int, value: int, length: int) -> None:
    """Whatever is damaged, it does not bind with other contents than those that were signed."""
    der = bytearray(A_LIST_DER)
    der[position] = value
    damaged = bytes(der[:length])
    pem = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(damaged) + b"-----END X509 CRL-----\n"
    try:
        revocations = read_revocations(pem, ROOT.root)
    except CredentialError:
        return
    assert all(found.serials == set(range(1, 20)) for found in revocations.of(ROOT.certificate.public_bytes(Encoding.DER)))


def test_the_same_lists_are_read_once() -> None:
    lists = ROOT.revoke(*range(1, 100))
    assert read_revocations(lists, ROOT.root) is read_revocations(bytes(bytearray(lists)), ROOT.root)


def test_issuers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_ISSUERS", 3)
    revocations: Revocations = read_revocations(ROOT.revoke(SERIAL), ROOT.root)
    for _ in range(10):
        revocations.of(Authority(ROOT).certificate.public_bytes(Encoding.DER))
        assert len(revocations._by_issuer) <= 3
    assert revocations.of(ROOT.certificate.public_bytes(Encoding.DER)) == tuple(revocations.lists)


def test_contexts_are_made_anew_only_when_more_than_lists_changed() -> None:
    credentials = ROOT.issue(OURS_ID)
    before = make_contexts(credentials)
    listed = make_contexts(replace(credentials, revoked=ROOT.revoke(SERIAL)), before)
    assert (listed.client, listed.server) == (before.client, before.server)
    assert serial_number_of(credentials) != SERIAL
    for changed in (replace(credentials, roots=ROOT.root + NEXT_ROOT.root), ROOT.issue(OURS_ID)):
        assert make_contexts(changed, before).server is not before.server
    with pytest.raises(CredentialError):
        make_contexts(replace(credentials, revoked=b"no list"), before)
