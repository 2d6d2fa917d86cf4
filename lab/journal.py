"""What a lab has created outside its own directory, written down before it is created, so that `down` can undo it after any crash.

The file holds one JSON object a line. A line is appended by one write, and a line that cannot be read (a crash in the middle of it) is one
whose thing was not created yet.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for as long as the machine runs: the kernel gives numbers anew, but not with the same start time (in clock ticks)."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Created:
    """Namespaces and mounts in the order in which they were made."""

    netns: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    daemon: ProcessId | None = None


def reduce_journal(text: str) -> Created:
    """Reads a journal, whole or cut off anywhere; what is unreadable is passed over."""
    created = Created()
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            created = _reduce(created, record)
    return created


def _reduce(created: Created, record: dict[str, object]) -> Created:
    match record:
        case {"daemon": int(pid), "start_ticks": int(start_ticks)}:
            return replace(created, daemon=ProcessId(pid, start_ticks))
        case {"netns": str(name)}:
            return replace(created, netns=(*(one for one in created.netns if one != name), name))
        case {"netns_gone": str(name)}:
            return replace(created, netns=tuple(one for one in created.netns if one != name))
        case {"mount": str(path)}:
            return replace(created, mounts=(*created.mounts, path))
        case _:
            return created


class Journal:
    """Appends to the file; each record is in the kernel's hands when the call returns."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def daemon(self, process: ProcessId) -> None:
        self._append({"daemon": process.pid, "start_ticks": process.start_ticks})

    def netns(self, name: str) -> None:
        self._append({"netns": name})

    def netns_gone(self, name: str) -> None:
        self._append({"netns_gone": name})

    def mount(self, path: Path) -> None:
        self._append({"mount": str(path)})

    def _append(self, record: dict[str, object]) -> None:
        # The newline in front ends a line that an earlier writer may have left half written.
        os.write(self._fd, b"\n" + json.dumps(record).encode() + b"\n")
