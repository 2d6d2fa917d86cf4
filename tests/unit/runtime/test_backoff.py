"""Waiting grows, is bounded, and is spread."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.backoff import Backoff

BACKOFF = Backoff(first_s=0.2, limit_s=5.0)


def test_the_wait_doubles_up_to_the_limit() -> None:
    assert [BACKOFF.delay_s(failures, 0.0) for failures in (1, 2, 3, 6, 7)] == [0.1, 0.2, 0.4, 2.5, 2.5]


@given(failures=st.integers(1, 10**9), random=st.floats(0, 1, exclude_max=True))
def test_it_stays_between_half_and_all_of_what_is_due(failures: int, random: float) -> None:
    assert 0.1 <= BACKOFF.delay_s(failures, random) <= 5.0
