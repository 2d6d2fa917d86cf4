"""What is said of the API server itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from controlplane.kubernetes import server_checks
from controlplane.kubernetes.server_checks import ServerChecks, version_of
from tests.coroutines import running
from tests.kubernetes_server import Answer, Transcript, connected


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ({"major": "1", "minor": "34"}, (1, 34)),
        ({"major": "1", "minor": "28+"}, (1, 28)),
        ({"major": "", "minor": "28"}, None),
        ({"major": 1, "minor": None}, None),
        ({}, None),
    ],
)
def test_versions(answer: dict[str, Any], version: tuple[int, int] | None) -> None:
    assert version_of(answer) == version


async def test_a_version_and_a_clock_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_checks, "CHECK_EVERY_S", 0.0)
    transcript = Transcript()
    old, new, late = {"major": "1", "minor": "27"}, {"major": "1", "minor": "34"}, {"Date": "Thu, 01 Jan 2026 01:00:00 GMT"}
    with structlog.testing.capture_logs() as logs:
        async with connected(transcript, tmp_path) as api, running(ServerChecks(api).follow(asyncio.Event())):
            transcript.say(Answer(old), Answer(old), Answer(b"?", 500), Answer(new, headers=late), Answer(new, headers=late), Answer(new))
            for _ in range(7):
                await transcript.asked.get()
    assert [log["event"] for log in logs] == ["api_server_too_old", "api_server", "clock_differs", "clock_agrees_again"]
