"""Deadlines: coarse, never early, cancellable. What one descriptor's defect costs the others: nothing."""

import asyncio
import socket
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztunnel.engine.python.reactor import TICK_S, Deadlines, Reactor


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


def test_a_burst_of_deadlines_that_are_cancelled_leaves_nothing() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    items = [Item(clock) for _ in range(1000)]
    tracemalloc.start()
    try:
        buckets = [deadlines.set(10.0, item) for item in items]
        for item, bucket in zip(items, buckets, strict=True):
            deadlines.cancel(bucket, item)
        del buckets
        left_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert left_bytes < 10_000, "the room of a thousand entries takes more"


def test_a_deadline_cancelled_by_another_of_the_same_moment_does_not_come() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)

    class Cancelling(Item):
        other: "Cancelling"
        bucket = 0

        def expire(self) -> None:
            super().expire()
            deadlines.cancel(self.other.bucket, self.other)

    first, second = Cancelling(clock), Cancelling(clock)
    first.other, second.other = second, first
    first.bucket, second.bucket = deadlines.set(1.0, first), deadlines.set(1.0, second)
    clock.now_s += 10
    deadlines.expire_due()
    assert len(first.expired_at) + len(second.expired_at) == 1


def test_a_deadline_that_fails_costs_no_other() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)

    class Failing(Item):
        def expire(self) -> None:
            super().expire()
            raise RuntimeError

    items = [Failing(clock) for _ in range(5)]
    for item in items:
        deadlines.set(1.0, item)
    clock.now_s += 10
    for _ in items:
        with pytest.raises(RuntimeError):
            deadlines.expire_due()
    assert [len(item.expired_at) for item in items] == [1] * 5


class Flush:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def flush(self) -> None:
        self.log.append(self.name)
        if self.name == "defective":
            raise RuntimeError(self.name)


def test_a_defective_flush_costs_no_other_its_output() -> None:
    log: list[str] = []

    async def turn() -> None:
        loop = asyncio.get_running_loop()
        errors: list[object] = []
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        reactor = Reactor(loop)
        ours, theirs = socket.socketpair()
        done = asyncio.Event()

        def on_readable() -> None:
            ours.recv(1)
            for name in ("first", "defective", "last"):
                reactor.flush_later(Flush(name, log))
            done.set()

        reactor.add_reader(ours.fileno(), on_readable)
        theirs.send(b"?")
        async with asyncio.timeout(5):
            await done.wait()
        reactor.remove_reader(ours.fileno())
        reactor.close()
        ours.close()
        theirs.close()
        assert [str(error) for error in errors] == ["defective"]

    asyncio.run(turn())
    assert log == ["first", "defective", "last"]
