"""structlog for everything but connections: the same lines, the same output, a level that can be changed while it runs."""

import logging
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

from ztunnel.config import LOG_LEVELS
from ztunnel.telemetry.access import timestamp
from ztunnel.telemetry.lines import LineFormat, render_line
from ztunnel.telemetry.output import Output

EventDict = MutableMapping[str, Any]


class LogLevel:
    """The one level of the process; `name` is a key of LOG_LEVELS."""

    def __init__(self, name: str) -> None:
        self.name = name

    def set(self, name: str) -> None:
        """Raises KeyError for a name that is no level."""
        if name not in LOG_LEVELS:
            raise KeyError(name)
        self.name = name

    def allows(self, name: str) -> bool:
        return LOG_LEVELS.get(name, logging.CRITICAL) >= LOG_LEVELS[self.name]


def configure(style: LineFormat, output: Output, level: LogLevel) -> None:
    """Sends structlog and the libraries' own logging to `output`."""

    def render(_: object, method: str, event: EventDict) -> bytes:
        name = "error" if method in {"exception", "critical"} else "warning" if method == "warn" else method
        if not level.allows(name):
            raise structlog.DropEvent
        scope, message = str(event.pop("scope", "ztunnel")), str(event.pop("event", ""))
        return render_line(style, timestamp(time.time()), name, scope, message, event.items()).encode()

    structlog.configure(
        processors=[structlog.dev.set_exc_info, structlog.processors.format_exc_info, render],
        logger_factory=lambda *_: _Sink(output),
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.WARNING)


class _Sink:
    """What structlog calls with a rendered line."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def _take(self, line: bytes) -> None:
        self._output.write(line)

    debug = info = warning = warn = error = exception = critical = _take


class _Libraries(logging.Handler):
    """Passes on what the libraries log at warning and above."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(scope=record.name)
        write = logger.error if record.levelno >= logging.ERROR else logger.warning
        write(record.getMessage(), exc_info=record.exc_info or None)
