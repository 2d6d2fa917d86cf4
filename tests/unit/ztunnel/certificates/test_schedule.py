"""Rotation at half-life, spread; alarms as time runs out."""

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.certificates.schedule import MIN_DELAY_S, Validity, alarm_due, renewal_delay_s

DAY_S = 86400.0


def test_a_day_long_certificate_is_renewed_after_half_a_day_give_or_take() -> None:
    day = Validity(1000.0, 1000.0 + DAY_S)
    assert renewal_delay_s(day, 1000.0, 0.5) == DAY_S / 2
    assert renewal_delay_s(day, 1000.0, 0.0) == DAY_S * 0.45
    assert renewal_delay_s(day, 1000.0 + DAY_S / 4, 0.5) == DAY_S / 4


@given(st.floats(1, 1e6), st.floats(0, 2e6), st.floats(0, 1, exclude_max=True))
def test_the_next_attempt_is_before_the_end_or_at_once_and_never_in_a_loop(lifetime_s: float, now_s: float, random: float) -> None:
    delay_s = renewal_delay_s(Validity(0.0, lifetime_s), now_s, random)
    assert delay_s >= MIN_DELAY_S
    assert delay_s == MIN_DELAY_S or now_s + delay_s <= lifetime_s * 0.55 + 1e-6 * lifetime_s


def test_alarms_come_at_the_first_failure_and_at_each_half_of_what_is_left() -> None:
    validity = Validity(0.0, 100.0)
    assert alarm_due(validity, 50.0, None)
    assert not alarm_due(validity, 60.0, 50.0)
    assert alarm_due(validity, 75.0, 50.0)
    assert not alarm_due(validity, 80.0, 25.0)
    assert alarm_due(validity, 101.0, 1.0)
