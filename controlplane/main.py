"""The process ambient-controlplane."""

import asyncio
import os
import signal
import sys

import structlog

from controlplane.config import Settings, parse
from controlplane.server import ControlPlane
from mesh.errors import ConfigError, ConfigErrors
from runtime.logs import configure_logs

_log = structlog.get_logger()


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit status."""
    try:
        settings = parse(os.environ)
    except ConfigErrors as errors:
        sys.stderr.write(f"ambient-controlplane: the settings are wrong\n{errors}\n")
        return os.EX_CONFIG
    configure_logs(settings.log_format)
    try:
        asyncio.run(run(settings))
    except (ConfigError, OSError) as failure:
        _log.error("cannot_run", error=str(failure))
        return os.EX_CONFIG
    return 0


async def run(settings: Settings) -> None:
    """Serves until a signal asks to stop.

    Raises:
        ConfigError, OSError: it cannot start.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    control_plane = ControlPlane(settings)
    try:
        if await _started(control_plane, stopping):
            await control_plane.follow_source(stopping)
    finally:
        _log.info("stopping")
        await control_plane.stop()
    _log.info("stopped")


async def _started(control_plane: ControlPlane, stopping: asyncio.Event) -> bool:
    """Starts it, which may take as long as an API server is away; False: it is to stop before that. Raises as `run` does."""
    starting, stop = asyncio.ensure_future(control_plane.start()), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False
