"""Processes found by what is certain: a number together with its start time, or the network namespace that they are in."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from lab.journal import ProcessId

# Field 22 of /proc/PID/stat, counted behind the command's closing parenthesis, which is the last one. Source: proc(5).
_START_TIME_FIELD = 22 - 3
_KILL_POLL_S = 0.02


def process_id(pid: int) -> ProcessId | None:
    """Who the process of this number is now; None: there is none (or it has ended and waits for its parent)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in ("Z", "X") else ProcessId(pid, int(fields[_START_TIME_FIELD]))


def is_running(process: ProcessId) -> bool:
    return process_id(process.pid) == process


def processes_in(netns_inodes: frozenset[int]) -> frozenset[int]:
    """The processes whose main thread is in one of the network namespaces, but never this one."""
    found = set()
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if pid != os.getpid() and _netns_of(pid) in netns_inodes and process_id(pid) is not None:
            found.add(pid)
    return frozenset(found)


def _netns_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def kill_all(netns_inodes: frozenset[int], also: Iterable[ProcessId], time_limit_s: float) -> frozenset[int]:
    """Kills every process in the namespaces, and those named, until none is left; returns what would not die in time."""
    named = tuple(also)
    deadline = time.monotonic() + time_limit_s
    while True:
        left = processes_in(netns_inodes) | {process.pid for process in named if is_running(process)}
        for pid in left:
            _kill(pid)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_KILL_POLL_S)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
