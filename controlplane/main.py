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
        await control_plane.start()
        await control_plane.follow_source(stopping)
    finally:
        _log.info("stopping")
        await control_plane.stop()
    _log.info("stopped")
