"""The observation process, from its parent's side."""

import json
import os
import selectors
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ebpf.observe.events import Event, parse_event
from ebpf.observe.requirements import SYSTEM_PYTHON, ObservationUnavailable, Preparation
from ebpf.observe.watched import Watched

_HERE = Path(__file__).parent
# bcc compiles in half a second; a machine under load takes longer.
START_TIMEOUT_S = 60
# The process polls its standard input ten times a second.
STOP_TIMEOUT_S = 5
_READ_BYTES = 1 << 16
# What is shown of the compiler's and kernel's complaints: the end, where the reason stands.
_MAX_COMPLAINT_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Lost:
    """Events did not fit between kernel and reader.

    Args:
        total: since the start.
    """

    total: int


class Observer:
    """A running observation process. It watches nothing until it is told to, and ends with this object or with its parent."""

    def __init__(self, preparation: Preparation, python: str = SYSTEM_PYTHON) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 # closed by close()
        self._process = subprocess.Popen(
            [python, "-I", str(_HERE / "process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, "BCC_KERNEL_SOURCE": str(preparation.headers.source)},
        )
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._rest = b""
        flags = [f"-I{_HERE}", *preparation.headers.flags, *preparation.macros]
        try:
            self._send({"program": str(_HERE / "program.c"), "flags": flags, "parent": os.getpid()})
        except ObservationUnavailable:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, watched: Watched) -> list[Event | Lost]:
        """Watches these pods and nothing else from now on; returns what was told in the meantime.

        Raises:
            ObservationUnavailable: the program does not compile or load here, or the process has ended.
        """
        pods, neighbours, addresses = sorted(watched.pods), sorted(watched.neighbours), sorted(map(str, watched.owners))
        self._send({"pods": pods, "neighbours": neighbours, "addresses": addresses})
        told: list[Event | Lost] = []
        end = time.monotonic() + START_TIMEOUT_S
        while (left := end - time.monotonic()) > 0:
            messages = self._messages(left)
            told += [_read(message) for message in messages if "watching" not in message]
            if any("watching" in message for message in messages):
                return told
        raise ObservationUnavailable((f"the observation process did not answer within {START_TIMEOUT_S} s",))

    def read(self, timeout_s: float) -> list[Event | Lost]:
        """What was told since, in order; waits for the first. Raises ObservationUnavailable when the process has ended."""
        return [_read(message) for message in self._messages(timeout_s)]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._selector.close()
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _messages(self, timeout_s: float) -> list[dict[str, Any]]:
        if not self._selector.select(timeout_s):
            return []
        assert self._process.stdout is not None
        chunk = os.read(self._process.stdout.fileno(), _READ_BYTES)
        if not chunk:
            raise self._ended()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def _ended(self) -> ObservationUnavailable:
        self._process.wait()
        self._complaints.seek(0)
        complaint = self._complaints.read().decode(errors="replace").strip()[-_MAX_COMPLAINT_CHARACTERS:]
        return ObservationUnavailable((f"the observation process ended: {complaint or f'exit code {self._process.returncode}'}",))


def _read(message: dict[str, Any]) -> Event | Lost:
    return Lost(message["lost"]) if "lost" in message else parse_event(message)
