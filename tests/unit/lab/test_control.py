"""The lab's socket."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.control import Say, request, serve


async def answer(question: Mapping[str, object], say: Say) -> object:
    say("thinking")
    return question["op"]


def test_whoever_finds_the_socket_finds_somebody_listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "socket"
    heard: list[str] = []

    def listen(self: socket.socket, backlog: int) -> None:
        assert not path.exists(), "it can be found, and does not listen yet"
        really_listen(self, backlog)

    async def ask() -> object:
        async with await serve(path, answer):
            return await asyncio.to_thread(request, path, {"op": "hello"}, heard.append, Path("/dev/null"))

    really_listen = socket.socket.listen
    monkeypatch.setattr(socket.socket, "listen", listen)
    assert asyncio.run(ask()) == "hello"
    assert heard == ["thinking"]
    assert path.stat().st_mode & 0o077 == 0
