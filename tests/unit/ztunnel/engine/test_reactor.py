"""Deadlines: coarse, never early, cancellable."""

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.engine.python.reactor import TICK_S, Deadlines


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Item:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.expired_at: list[float] = []

    def expire(self) -> None:
        self.expired_at.append(self.clock.now_s)


@given(st.floats(min_value=0, max_value=100), st.lists(st.floats(min_value=0.01, max_value=1.0), min_size=1, max_size=200))
def test_a_deadline_is_never_early_and_late_by_ticks_at_most(timeout_s: float, steps: list[float]) -> None:
    clock = Clock()
    deadlines, item = Deadlines(clock), Item(clock)
    deadlines.set(timeout_s, item)
    for step in steps:
        clock.now_s += step
        deadlines.expire_due()
    due_s = 1000.0 + timeout_s
    if item.expired_at:
        assert item.expired_at[0] >= due_s
        assert len(item.expired_at) == 1
    else:
        assert clock.now_s < due_s + 2 * TICK_S


def test_a_cancelled_deadline_does_not_come() -> None:
    clock = Clock()
    deadlines, item = Deadlines(clock), Item(clock)
    deadlines.cancel(deadlines.set(1.0, item), item)
    clock.now_s += 10
    deadlines.expire_due()
    assert item.expired_at == []


def test_an_item_may_set_its_next_deadline_when_it_expires() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)

    class Again(Item):
        def expire(self) -> None:
            super().expire()
            deadlines.set(1.0, self)

    item = Again(clock)
    deadlines.set(1.0, item)
    for _ in range(10):
        clock.now_s += 1.0
        deadlines.expire_due()
    assert len(item.expired_at) >= 4
