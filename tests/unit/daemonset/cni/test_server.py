"""Questions over a real socket, and what they are answered."""

import asyncio
import json
from pathlib import Path

import pytest

from daemonset.cni.question import BadQuestion, Question, parse_question
from daemonset.cni.server import CniServer
from mesh.errors import CaptureError

GOOD = {"protocol": 1, "command": "ADD", "netns": "/run/netns/x", "namespace": "shop", "name": "web-0", "uid": "u-1"}


def ask(path: Path, *lines: bytes, error: Exception | None = None) -> tuple[list[str], list[Question]]:
    """What each line is answered, and which pods were asked about."""
    started: list[Question] = []

    async def start(question: Question) -> None:
        started.append(question)
        if error is not None:
            raise error

    async def talk() -> list[str]:
        serving = asyncio.create_task(CniServer(path, start).run())
        while not path.exists():  # noqa: ASYNC240  there is no other way to wait for it
            await asyncio.sleep(0)
        answers = []
        for line in lines:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(line)
            writer.write_eof()
            answers.append(json.loads(await reader.readline())["error"])
            writer.close()
        serving.cancel()
        return answers

    return asyncio.run(talk()), started


def line(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode() + b"\n"


def test_a_pod_that_may_start_is_answered_by_nothing(tmp_path: Path) -> None:
    answers, started = ask(tmp_path / "cni.sock", line(), line(uid="", more="of a newer plugin"))
    assert answers == ["", ""]
    assert started == [Question("/run/netns/x", "shop", "web-0", "u-1"), Question("/run/netns/x", "shop", "web-0", "")]
    assert (tmp_path / "cni.sock").stat().st_mode & 0o777 == 0o600


def test_what_holds_a_pod_back_is_told(tmp_path: Path) -> None:
    answers, _ = ask(tmp_path / "cni.sock", line(), error=CaptureError("web", "no ztunnel is connected", 0))
    assert "no ztunnel is connected" in answers[0]


def test_nonsense_is_refused_and_the_next_is_answered(tmp_path: Path) -> None:
    answers, started = ask(tmp_path / "cni.sock", b"\n", b"cut off", b"x" * 100_000 + b"\n", line())
    assert [bool(answer) for answer in answers] == [True, True, True, False]
    assert len(started) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": 2},
        {"command": "FLY"},
        {"netns": "relative"},
        {"netns": "/run/\0"},
        {"netns": 1},
        {"namespace": "../x"},
        {"namespace": None},
        {"name": "UPPER"},
        {"name": "x" * 254},
        {"uid": "a/b"},
        {"uid": 7},
    ],
)
def test_a_field_that_is_wrong(changes: dict[str, object]) -> None:
    with pytest.raises(BadQuestion):
        parse_question(line(**changes))
