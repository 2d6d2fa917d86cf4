"""What is kept to be sent again is bounded by what a new tunnel would take at once."""

from typing import Any

from ztunnel.engine.python.outbound import OutboundRelay

FIRST_WINDOW = 65_535


def relay() -> OutboundRelay:
    nothing: Any = None
    return OutboundRelay(nothing, "10.0.0.1:1", 0.0, nothing, nothing)


def send(one: OutboundRelay, size: int) -> None:
    one.count(size, 0)
    one.keep_early(bytes(size))


def test_a_first_window_is_kept() -> None:
    one = relay()
    for size in (1, 60_000, 5_534):
        send(one, size)
    assert one.early is not None
    assert sum(map(len, one.early)) == FIRST_WINDOW


def test_more_is_not_and_nothing_after_it() -> None:
    one = relay()
    send(one, FIRST_WINDOW)
    send(one, 1)
    assert one.early is None
    send(one, 1)
    assert one.early is None
