"""Forgets together what must be forgotten together: cached decisions, the reports that they name, subscriptions that nobody uses."""

import asyncio
import time
from collections.abc import Callable

from ztunnel.discovery.client import Discovery
from ztunnel.engine.interface import Engine
from ztunnel.telemetry.reports import Reports

# Nothing here is urgent: strangers are believed for a minute, reports are kept for one.
PERIOD_S = 10.0


class Upkeep:
    """Keeps the books small.

    Args:
        drain: handles what the engine has noticed so far.
    """

    def __init__(self, engine: Engine, reports: Reports, drain: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._reports = reports
        self._drain = drain
        self._clock = clock

    async def run(self, discovery: Discovery) -> None:
        """Serves until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            discovery.shed()
            self.collect()

    def invalidate(self) -> None:
        """Something that decisions were made from has changed."""
        self._engine.invalidate()
        self._reports.invalidated(self._clock())

    def collect(self) -> None:
        """Forgets the reports that nothing uses."""
        if self._reports.full:
            self.invalidate()
        # A notice of a report that goes now must be counted before.
        self._drain()
        forgotten = self._reports.collect(self._engine.counters(), self._clock())
        if forgotten:
            self._engine.forget_reports(forgotten)
