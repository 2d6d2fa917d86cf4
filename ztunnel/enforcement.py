"""A changed policy ends the live connections that it now denies: soon, all of them, and no others."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from ztunnel.engine.interface import Cause, LiveFlow
from ztunnel.reexamination import denial_now
from ztunnel.surroundings import Surroundings

# Changes come in bursts; one look is enough for all that come within this time.
COALESCE_S = 0.05
# The loop carries bytes and decides for new connections too: after so long it has its turn.
TURN_S = 0.002
# Each costs about 50 us, and each call a look at every connection.
CLOSED_AT_ONCE = 500

log = structlog.get_logger(scope="enforcement")


class LiveFlows(Protocol):
    """The part of the engine that this needs."""

    def live_flows(self) -> list[LiveFlow]: ...

    def close_flows(self, flows: frozenset[LiveFlow], cause: Cause, detail: str) -> None: ...


class Enforcement:
    """Looks at every live flow after a change of what connections were let in by.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, engine: LiveFlows, around: Surroundings, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._around = around
        self._clock = clock
        self._due = asyncio.Event()

    def changed(self) -> None:
        """Policies, or the pods of this node, mean something else now."""
        self._due.set()

    async def run(self) -> None:
        """Serves until cancelled."""
        while True:
            await self._due.wait()
            await asyncio.sleep(COALESCE_S)
            # What changes from here on is looked at after this.
            self._due.clear()
            await self.enforce()

    async def enforce(self) -> None:
        """Closes what is denied now. Gives the loop its turns, and sees what changes meanwhile in the flows still to come."""
        started_s = turn_s = self._clock()
        flows = self._engine.live_flows()
        denied: dict[str, list[LiveFlow]] = {}
        for live in flows:
            if reason := denial_now(live, self._around):
                denied.setdefault(reason, []).append(live)
            if self._clock() - turn_s >= TURN_S:
                await asyncio.sleep(0)
                turn_s = self._clock()
        for reason, theirs in denied.items():
            for start in range(0, len(theirs), CLOSED_AT_ONCE):
                self._engine.close_flows(frozenset(theirs[start : start + CLOSED_AT_ONCE]), Cause.DENIED, reason)
                await asyncio.sleep(0)
        if denied:
            took_ms = round((self._clock() - started_s) * 1000)
            log.info("connections closed by policy", flows=sum(map(len, denied.values())), live=len(flows), took_ms=took_ms)
