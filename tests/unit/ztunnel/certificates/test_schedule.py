"""Rotation at half-life, spread; alarms as time runs out."""

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.certificates.schedule import MIN_DELAY_S, Validity, alarm_due, renewal_delay_s, retry_delay_s

DAY_S = 86400.0


def test_a_day_long_certificate_is_renewed_after_half_a_day_give_or_take() -> None:
    day = Validity(1000.0, 1000.0 + DAY_S)
    assert renewal_delay_s(day, 1000.0, 0.5) == DAY_S / 2
    assert renewal_delay_s(day, 1000.0, 0.0) == DAY_S * 0.45
    assert renewal_delay_s(day, 1000.0 + DAY_S / 4, 0.5) == DAY_S * 3 / 8, "half of what is left"


def test_one_of_20_s_that_is_dated_back_by_a_minute_is_renewed_after_10() -> None:
    assert renewal_delay_s(Validity(1000.0 - 60.0, 1000.0 + 20.0), 1000.0, 0.5) == 10.0


@given(st.floats(1, 1e6), st.floats(0, 2e6), st.floats(0, 1, exclude_max=True))
def test_the_next_attempt_is_before_the_end_or_at_once_and_never_in_a_loop(lifetime_s: float, now_s: float, random: float) -> None:
    delay_s = renewal_delay_s(Validity(0.0, lifetime_s), now_s, random)
    assert delay_s >= MIN_DELAY_S
    assert delay_s == MIN_DELAY_S or now_s + delay_s <= lifetime_s


def test_a_failure_is_followed_by_several_attempts_while_there_is_time() -> None:
    validity = Validity(0.0, 100.0)
    assert retry_delay_s(30.0, validity, 20.0) == 10.0
    assert retry_delay_s(0.25, validity, 20.0) == 0.25
    assert retry_delay_s(30.0, validity, 99.0) == MIN_DELAY_S
    assert retry_delay_s(30.0, validity, 101.0) == retry_delay_s(30.0, None, 0.0) == 30.0, "nothing is left to save"


def test_alarms_come_at_the_first_failure_and_at_each_half_of_what_is_left() -> None:
    validity = Validity(0.0, 100.0)
    assert alarm_due(validity, 50.0, None)
    assert not alarm_due(validity, 60.0, 50.0)
    assert alarm_due(validity, 75.0, 50.0)
    assert not alarm_due(validity, 80.0, 25.0)
    assert alarm_due(validity, 101.0, 1.0)
