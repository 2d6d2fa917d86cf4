"""From the engine's queue to who is concerned: misses to the resolver, the rest to the access log."""

import asyncio
from collections.abc import Callable

from ztunnel.engine.interface import Engine, Flow, Miss
from ztunnel.telemetry.access import AccessLog


class NoticePump:
    """Empties the queue once for each turn of the loop in which something happened."""

    def __init__(self) -> None:
        self._scheduled = False
        self._drain: Callable[[], None] = lambda: None

    def attach(self, engine: Engine, miss: Callable[[Flow], None], access: AccessLog) -> None:
        """Says where notices come from and go to; the engine is made with `wake`, and so before this."""

        def drain() -> None:
            notices = engine.take_notices()
            for notice in notices:
                if isinstance(notice, Miss):
                    miss(notice.flow)
            access.record(notices)

        self._drain = drain

    def wake(self) -> None:
        """For the engine: something is there to be taken. On the loop's thread."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def drain(self) -> None:
        """Handles what is there now."""
        self._drain()

    def _turn(self) -> None:
        self._scheduled = False
        self._drain()
