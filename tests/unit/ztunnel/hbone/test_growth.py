"""The round trip is measured seldom and remembered well; a window grows only when it was the limit."""

import pytest

from ztunnel.hbone.growth import RoundTrip, growth_bytes


def test_one_ping_at_a_time_and_one_a_second() -> None:
    trip = RoundTrip()
    assert trip.ask(5.0)
    assert not trip.ask(50.0)
    assert trip.answered(50.0)
    assert not trip.answered(51.0)
    assert trip.ask(51.0)
    assert trip.answered(51.1)
    assert not trip.ask(51.9)
    assert trip.ask(52.0)


def test_the_estimate_follows_the_fastest_at_once_and_the_slower_by_an_eighth() -> None:
    trip = RoundTrip()
    now_s = 0.0
    estimates = []
    for sample_s in (0.08, 0.04, 0.12, 0.01):
        assert trip.ask(now_s)
        assert trip.answered(now_s + sample_s)
        estimates.append(trip.estimate_s)
        now_s += 2.0
    assert estimates == pytest.approx([0.08, 0.04, 0.05, 0.01])


@pytest.mark.parametrize(
    ("window", "used_within_s", "round_trip_s", "more"),
    [(100, 0.02, 0.01, 100), (100, 0.0201, 0.01, 0), (100, 0.0, None, 0), (700, 0.01, 0.01, 300), (1000, 0.01, 0.01, 0)],
)
def test_growth(window: int, used_within_s: float, round_trip_s: float | None, more: int) -> None:
    assert growth_bytes(window, 1000, used_within_s, round_trip_s) == more
