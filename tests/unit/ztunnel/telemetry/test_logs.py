"""structlog and the libraries' logging in one format, with a level that can change."""

import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from tests.unit.ztunnel.telemetry.test_output import drain
from ztunnel.telemetry.lines import FORMATS
from ztunnel.telemetry.logs import LogLevel, configure
from ztunnel.telemetry.output import Output


class Logged:
    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.output = Output(self._writer)
        self.level = LogLevel("info")
        configure(FORMATS["json"], self.output, self.level)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in drain(self._reader).splitlines()]

    def close(self) -> None:
        self.output.close()
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture
def logged() -> Iterator[Logged]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    logged = Logged()
    yield logged
    logged.close()
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_an_event_has_a_scope_and_fields(logged: Logged) -> None:
    structlog.get_logger(scope="zds").info("pod added", uid="u-1")
    (line,) = logged.lines()
    assert (line["level"], line["scope"], line["message"], line["uid"]) == ("info", "zds", "pod added", "u-1")
    assert str(line["time"]).endswith("Z")


def test_the_level_can_change_while_it_runs(logged: Logged) -> None:
    logger = structlog.get_logger(scope="zds")
    logger.debug("hidden")
    logged.level.set("debug")
    logger.debug("shown")
    logged.level.set("error")
    logger.warning("hidden")
    logger.error("shown")
    assert [line["message"] for line in logged.lines()] == ["shown", "shown"]
    assert not logged.level.allows("info")
    with pytest.raises(KeyError):
        logged.level.set("loud")


def test_exceptions_are_told_on_one_line(logged: Logged) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger(scope="resolver").exception("no decision")
    (line,) = logged.lines()
    assert line["level"] == "error"
    assert "ValueError: broken" in str(line["exception"])


def test_what_libraries_warn_of_is_there(logged: Logged) -> None:
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("aiohttp").info("chatter")
    assert [(line["scope"], line["level"]) for line in logged.lines()] == [("asyncio", "error")]
