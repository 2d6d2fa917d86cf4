"""Says what of the API server itself is not as it must be: a version before ours, a clock that is not ours."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import structlog

from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer
from runtime.kubernetes import Api

_log = structlog.get_logger()
# What we are tested with. An older one may lack what we ask of it; it is told, and tried all the same.
OLDEST = (1, 28)
# Certificates are backdated by as much; tokens live for an hour or so.
TOLERATED_S = 60.0
CHECK_EVERY_S = 60.0


def version_of(answer: Mapping[str, Any]) -> tuple[int, int] | None:
    """Reads what GET /version answers, such as major "1" and minor "28+"; None: it says nothing of the kind."""
    numbers = [re.match(r"[0-9]{1,6}", str(answer.get(key))) for key in ("major", "minor")]
    major, minor = (int(one[0]) if one is not None else None for one in numbers)
    return (major, minor) if major is not None and minor is not None else None


class ServerChecks:
    """Asks now and then."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._version: tuple[int, int] | None = None
        self._skewed = False

    async def follow(self, stopping: asyncio.Event) -> None:
        """Checks until `stopping` is set."""
        while not stopping.is_set():
            await self._check()
            try:
                async with asyncio.timeout(CHECK_EVERY_S):
                    await stopping.wait()
            except TimeoutError:
                pass

    async def _check(self) -> None:
        try:
            version = version_of(await self._api.request("GET", "/version"))
        except (ApiError, ApiUnreachable, BrokenAnswer):
            # Whoever needs it says so.
            return
        if version is not None and version != self._version:
            self._version = version
            text = ".".join(map(str, version))
            if version < OLDEST:
                _log.error("api_server_too_old", version=text, oldest=".".join(map(str, OLDEST)))
            else:
                _log.info("api_server", version=text)
        ahead_s = self._api.server_ahead_s
        if (skewed := abs(ahead_s) > TOLERATED_S) != self._skewed:
            self._skewed = skewed
            if skewed:
                means = "tokens and certificates seem to have ended, or not to have begun"
                _log.error("clock_differs", api_server_ahead_s=round(ahead_s), means=means)
            else:
                _log.info("clock_agrees_again")
