"""Certificates, keys and revocation lists as they may stand in files and replies: the only way out is the error of their reader."""

import base64
import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.given import FILES, check_authority
from controlplane.revocation import read_lists, read_serials
from mesh.errors import ConfigError, CredentialError
from mesh.identity import Identity
from tests.unit.controlplane.authorities import NOW, authority, secret
from ztunnel.certificates.request import check_reply, make_request
from ztunnel.certificates.trust import Trust, read_trust

NAMES = ("cluster.local", "controlplane.ambient")
ROOT = authority("root")
CA = authority("ca", ROOT)
LISTS = ROOT.revokes(1, 2**100)
GOOD = secret(CA, ROOT, chain=(CA,), lists=LISTS)
BUNDLE = ROOT.pem
REQUEST = make_request(Identity("cluster.local", "shop", "web"))


def wrapped(kind: str) -> st.SearchStrategy[bytes]:
    """Any bytes in an armour of PEM, and armour that is broken."""
    body = st.binary(max_size=200).map(base64.b64encode)
    whole = body.map(lambda text: b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind.encode(), text, kind.encode()))
    return st.binary(max_size=100) | whole | st.tuples(whole, st.integers(0, 80)).map(lambda pair: pair[0][: pair[1]])


def damaged(pem: bytes) -> st.SearchStrategy[bytes]:
    """The DER inside with a few bytes changed."""
    kind, body = re.match(rb"-----BEGIN ([^-]+)-----\n(.*?)-----END", pem, re.DOTALL).groups()  # type: ignore[union-attr]
    der = base64.b64decode(body)

    def change(edits: list[tuple[int, int]]) -> bytes:
        changed = bytearray(der)
        for position, value in edits:
            changed[position % len(changed)] = value
        return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind, base64.b64encode(bytes(changed)), kind)

    return st.lists(st.tuples(st.integers(0, len(der)), st.integers(0, 255)), min_size=1, max_size=4).map(change)


@pytest.mark.parametrize("name", FILES)
def test_any_file_of_an_authority(name: str) -> None:
    kind = {"ca-key.pem": "PRIVATE KEY", "ca-crl.pem": "X509 CRL"}.get(name, "CERTIFICATE")

    @given(wrapped(kind) | damaged(GOOD[name]))
    @example(b"")
    def any_content(content: bytes) -> None:
        try:
            read = check_authority({**GOOD, name: content}, NAMES, NOW)
        except ConfigError:
            return
        # What is taken signs, and leads where it did: a byte that was changed lay outside all that is signed.
        read.issuer.certificate.verify_directly_issued_by(ROOT.certificate)

    any_content()


@given(wrapped("X509 CRL") | damaged(LISTS) | st.lists(damaged(LISTS) | st.just(LISTS), max_size=3).map(b"".join))
def test_any_lists(content: bytes) -> None:
    try:
        lists = read_lists(content, "ca-crl.pem")
    except ConfigError:
        lists = ()
    for one in lists:
        assert one.public_bytes(Encoding.PEM)
    try:
        assert read_trust(BUNDLE, content) == Trust(BUNDLE, content)
    except CredentialError:
        pass


def test_lists_cut_anywhere_are_refused() -> None:
    two = LISTS + LISTS
    for end in range(1, len(two) - 1):
        if end not in {len(LISTS), len(LISTS) - 1}:
            with pytest.raises(ConfigError):
                read_lists(two[:end], "")
            with pytest.raises(CredentialError):
                read_trust(BUNDLE, two[:end])


@given(wrapped("CERTIFICATE") | damaged(BUNDLE))
def test_any_bundle(content: bytes) -> None:
    try:
        read_trust(content, LISTS)
    except CredentialError:
        pass


def test_a_bundle_cut_anywhere_is_refused() -> None:
    two = BUNDLE + CA.pem
    for end in range(len(two) - 1):
        if end not in {len(BUNDLE), len(BUNDLE) - 1}:
            with pytest.raises(CredentialError):
                read_trust(two[:end], b"")


@given(st.lists(st.text(max_size=50) | (wrapped("CERTIFICATE") | damaged(CA.pem)).map(lambda pem: pem.decode("latin-1")), max_size=4))
def test_any_reply_of_a_ca(chain: list[str]) -> None:
    with pytest.raises(CredentialError):
        check_reply(REQUEST, Identity("cluster.local", "shop", "web"), chain, Trust(BUNDLE), NOW.timestamp())


@given(st.text() | st.lists(st.integers(-5, 2**170).map(lambda number: f"{number:x}")).map("\n".join))
def test_any_serials(text: str) -> None:
    try:
        serials = read_serials(text, "revoked")
    except ConfigError:
        return
    assert all(0 < serial < 2**159 for serial in serials)
