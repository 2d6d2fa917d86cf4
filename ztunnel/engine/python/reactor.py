"""The event loop as the engine sees it: readiness of file descriptors, coarse deadlines, and scratch memory that all connections share."""

import asyncio
from collections.abc import Callable
from typing import Protocol

# One read takes up to this much: large reads halve the cost per byte of a bulk stream, and it still fits a second-level cache.
READ_BYTES = 256 * 1024
# Room for the header of a DATA frame in front of what was read, so that header and payload are sealed in one piece.
HEADER_BYTES = 9
# A TLS record carries at most this much plaintext (RFC 8446 section 5.1).
RECORD_BYTES = 16 * 1024
# Deadlines are this coarse; none of ours is shorter than several of these.
TICK_S = 0.5


class Expiring(Protocol):
    """Something that has a deadline."""

    def expire(self) -> None: ...


class Deadlines:
    """Deadlines in buckets of TICK_S: setting and cancelling one costs a set operation, not a timer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_tick = int(clock() / TICK_S) + 1
        self._buckets: dict[int, set[Expiring]] = {}

    def set(self, timeout_s: float, item: Expiring) -> int:
        """Calls item.expire() between timeout_s and timeout_s + TICK_S from now. Returns what `cancel` wants."""
        bucket = int((self._clock() + timeout_s) / TICK_S) + 1
        self._buckets.setdefault(bucket, set()).add(item)
        return bucket

    def cancel(self, bucket: int, item: Expiring) -> None:
        items = self._buckets.get(bucket)
        if items is not None:
            items.discard(item)

    def expire_due(self) -> None:
        """Expires everything whose time has come."""
        now_tick = int(self._clock() / TICK_S)
        while self._next_tick <= now_tick:
            for item in self._buckets.pop(self._next_tick, ()):
                item.expire()
            self._next_tick += 1


class Reactor:
    """Readiness callbacks on the running loop, and scratch buffers.

    The buffers belong to whoever runs a callback, for the time of that callback: a connection that is idle owns no memory.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now: Callable[[], float] = loop.time
        self.soon = loop.call_soon
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.add_writer = loop.add_writer
        self.remove_writer = loop.remove_writer
        self.frame_view = memoryview(bytearray(HEADER_BYTES + READ_BYTES))
        self.payload_view = self.frame_view[HEADER_BYTES:]
        self.cipher_view = memoryview(bytearray(READ_BYTES))
        self.plain_view = memoryview(bytearray(READ_BYTES + RECORD_BYTES))
        self.deadlines = Deadlines(loop.time)
        self._ticking: asyncio.TimerHandle | None = loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = self.loop.call_later(TICK_S, self._tick)
        self.deadlines.expire_due()

    def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
