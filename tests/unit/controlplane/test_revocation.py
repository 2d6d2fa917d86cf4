"""Revocation lists: the serials that are to be in them, signing, and when a list stays."""

import datetime as dt

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from controlplane.authority import Issuer, issuer_of
from controlplane.revocation import LIST_LIFETIME, read_lists, read_serials, sign_lists, still_good
from mesh.errors import ConfigError
from tests.unit.controlplane.authorities import NOW, authority

ROOTS = [authority("root 1"), authority("root 2")]
ISSUERS: list[Issuer] = [issuer_of(root.key, root.certificate) for root in ROOTS]
SERIALS = frozenset({7, 2**159 - 1, 0xABC})


def test_serials_are_read_as_the_logs_show_them() -> None:
    text = "# stolen laptop\n1f\n\n  AB:CD # with colons\n0001f\n"
    assert read_serials(text, "revoked") == {0x1F, 0xABCD}


@given(st.sets(st.integers(1, 2**159 - 1)))
def test_every_serial_that_is_logged_can_be_revoked(serials: set[int]) -> None:
    assert read_serials("\n".join(f"{serial:x}" for serial in serials), "revoked") == serials


@pytest.mark.parametrize("line", ["0", "xyz", "-1", "1" * 41, "1f 2e", "0x1f", "1" * 100_000, "\u0661"])
def test_a_line_that_is_no_serial_is_named(line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_serials(f"# first\n{line}\n", "/state/revoked")
    assert refused.value.key == "/state/revoked:2"
    assert len(str(refused.value)) < 300


def test_no_more_than_every_node_can_bear() -> None:
    with pytest.raises(ConfigError, match="at most 10000"):
        read_serials("\n".join(f"{serial:x}" for serial in range(1, 10_002)), "revoked")


def test_each_root_signs_a_list_of_them_all() -> None:
    lists = read_lists(sign_lists(ISSUERS, SERIALS, NOW), "")
    for one, root in zip(lists, ROOTS, strict=True):
        assert one.is_signature_valid(root.certificate.public_key())  # type: ignore[arg-type]
        assert {entry.serial_number for entry in one} == SERIALS
        assert one.last_update_utc < NOW < NOW + LIST_LIFETIME == one.next_update_utc
    assert sign_lists(ISSUERS, frozenset(), NOW) == b""


def test_numbers_grow_with_time() -> None:
    numbers = [
        read_lists(sign_lists(ISSUERS[:1], SERIALS, NOW + dt.timedelta(seconds=passed)), "")[0]
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        for passed in (0, 1, 2)
    ]
    assert numbers == sorted(set(numbers))


def test_what_another_replica_signed_stays_until_something_changes() -> None:
    signed = sign_lists(ISSUERS, SERIALS, NOW)
    assert still_good(signed, ISSUERS, SERIALS, NOW)
    assert not still_good(signed, ISSUERS, SERIALS | {9}, NOW)
    assert not still_good(signed, ISSUERS, SERIALS, NOW + LIST_LIFETIME / 2), "signed anew in good time"
    assert not still_good(signed, ISSUERS[:1], SERIALS, NOW)
    assert not still_good(signed, ISSUERS[::-1], SERIALS, NOW), "signed by each for itself"
    assert not still_good(signed, ISSUERS, frozenset(), NOW)
    assert not still_good(b"", ISSUERS, SERIALS, NOW)
    assert not still_good(b"rubbish", ISSUERS, SERIALS, NOW)
    assert still_good(b"", ISSUERS, frozenset(), NOW)
