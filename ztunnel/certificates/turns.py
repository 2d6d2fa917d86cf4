"""Who may ask the CA next: few at a time in the background, and at once those that a connection waits for."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """A queue with two priorities.

    Args:
        background: how many go at a time while nobody waits for them.
        all_together: how many go at a time at most, those that are waited for among them.
    """

    def __init__(self, background: int, all_together: int) -> None:
        self._background = background
        self._all = all_together
        self._running = 0
        # In the order in which they came.
        self._waiting: dict[Hashable, asyncio.Event] = {}
        self._urgent: dict[Hashable, None] = {}

    @asynccontextmanager
    async def take(self, who: Hashable, urgent: bool) -> AsyncIterator[None]:
        """Waits for a turn and holds it while the block runs; `who` waits once at a time."""
        admitted = self._waiting[who] = asyncio.Event()
        if urgent:
            self._urgent[who] = None
        self._admit()
        try:
            await admitted.wait()
        except asyncio.CancelledError:
            if self._waiting.pop(who, None) is None:
                self._running -= 1  # It had been admitted in the same turn of the loop.
            self._urgent.pop(who, None)
            self._admit()
            raise
        try:
            yield
        finally:
            self._running -= 1
            self._admit()

    def hasten(self, who: Hashable) -> None:
        """From now on somebody waits for it."""
        if who in self._waiting:
            self._urgent[who] = None
            self._admit()

    def _admit(self) -> None:
        while self._urgent and self._running < self._all:
            self._start(next(iter(self._urgent)))
        while self._waiting and self._running < self._background:
            self._start(next(iter(self._waiting)))

    def _start(self, who: Hashable) -> None:
        self._urgent.pop(who, None)
        self._running += 1
        self._waiting.pop(who).set()
