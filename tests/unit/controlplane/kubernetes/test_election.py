"""The election, with a clock that the test moves."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubernetes.election import LEASE_S, RENEW_WITHIN_S, RETRY_S, Election, Record, read_record, write_record

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)
STAMP = "2026-01-02T03:04:05.000678Z"


class Lease:
    """The Lease as the API server holds it."""

    def __init__(self) -> None:
        self.record: Record | None = None

    def take_part(self, one: Election, now_s: float, *, arrives: bool = True) -> None:
        wish = one.wish(self.record, now_s, NOW + dt.timedelta(seconds=now_s))
        if wish is not None and arrives:
            self.record = wish
            one.won(wish, now_s)


def test_who_comes_first_leads_and_renews() -> None:
    lease, a, b = Lease(), Election("a"), Election("b")
    assert not a.leading(0)
    lease.take_part(a, 0)
    assert lease.record == Record("a", 15, STAMP, STAMP, 0)
    lease.take_part(b, 1)
    assert (a.leading(1), b.leading(1)) == (True, False)
    lease.take_part(a, 2)
    assert lease.record is not None
    assert (lease.record.acquired, lease.record.renewed, lease.record.transitions) == (STAMP, "2026-01-02T03:04:07.000678Z", 0)


def test_a_leader_that_cannot_renew_stops_before_another_begins() -> None:
    lease, a, b = Lease(), Election("a"), Election("b")
    lease.take_part(a, 0)
    lease.take_part(b, 0.5)
    assert (a.leading(9.9), a.leading(10)) == (True, False)
    lease.take_part(b, 15.4)
    assert not b.leading(15.4)
    lease.take_part(b, 15.6)
    assert b.leading(15.6)
    assert lease.record is not None
    assert (lease.record.holder, lease.record.transitions) == ("b", 1)
    # The former leader hears of it, and waits in its turn.
    lease.take_part(a, 16)
    assert (a.leading(16), lease.record.holder) == (False, "b")


def test_a_lease_that_is_seen_to_change_has_not_run_out_whatever_its_times_say() -> None:
    lease, b = Lease(), Election("b")
    for now_s in range(0, 100, 2):
        lease.record = Record("a", 15, "1970-01-01T00:00:00.000000Z", f"1970-01-01T00:00:{now_s:02}.000000Z", 0)
        lease.take_part(b, float(now_s))
        assert lease.record.holder == "a"


def test_who_leaves_says_so() -> None:
    lease, a, b = Lease(), Election("a"), Election("b")
    lease.take_part(a, 0)
    lease.record = a.leave(NOW)
    assert not a.leading(0)
    lease.take_part(b, 0.1)
    assert b.leading(0.1)
    assert a.leave(NOW) is None


def test_who_comes_back_under_the_same_name_leads_on() -> None:
    lease = Lease()
    lease.take_part(Election("a"), 0)
    again = Election("a")
    assert not again.leading(1)
    lease.take_part(again, 1)
    assert again.leading(1)
    assert lease.record is not None
    assert lease.record.transitions == 0


@pytest.mark.parametrize("lease", [{}, {"spec": None}, {"spec": {"holderIdentity": 7, "leaseDurationSeconds": "15"}}])
def test_nonsense_is_nobody_s(lease: dict[str, object]) -> None:
    assert read_record(lease) == Record("", 0, "", "", 0)


def test_records_are_written_as_they_are_read() -> None:
    record = Record("a", 15, STAMP, STAMP, 3)
    assert read_record({"spec": write_record(record)}) == record


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, RETRY_S * 4), st.booleans()), max_size=60))
def test_there_is_never_more_than_one_leader(script: list[tuple[str, float, bool]]) -> None:
    """Whoever asks at whatever time, and whatever does not arrive."""
    lease, replicas, now_s = Lease(), {name: Election(name) for name in "abc"}, 0.0
    for name, passed_s, arrives in script:
        now_s += passed_s
        lease.take_part(replicas[name], now_s, arrives=arrives)
        assert sum(one.leading(now_s) for one in replicas.values()) <= 1
    assert RENEW_WITHIN_S < LEASE_S
