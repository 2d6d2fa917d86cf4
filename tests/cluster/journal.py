"""What a cluster consists of outside its own directory, written down so that `down` can undo it after any crash."""

import json
from pathlib import Path

from lab.journal import ProcessId
from lab.processes import process_id
from tests.cluster.layout import STATE_ROOT, Layout

_SHAPE, _PROCESSES = "shape.json", "processes"


def begin(layout: Layout) -> None:
    """Makes the directory. Raises FileExistsError: there is such a cluster, or the rest of one."""
    STATE_ROOT.mkdir(exist_ok=True)
    layout.root.mkdir(mode=0o700)
    (layout.root / _SHAPE).write_text(json.dumps({"index": layout.index, "node_count": layout.node_count}))


def note_process(layout: Layout, name: str, pid: int) -> None:
    """Remembers a process that was started."""
    found = process_id(pid)
    if found is not None:
        with (layout.root / _PROCESSES).open("a") as file:
            file.write(json.dumps({"name": name, "pid": found.pid, "start_ticks": found.start_ticks}) + "\n")


def known(name: str) -> Layout | None:
    """The cluster of this name; None: there is none. One whose shape was not written yet has nothing but its directory."""
    root = STATE_ROOT / name
    if not root.is_dir():
        return None
    try:
        shape = json.loads((root / _SHAPE).read_text())
    except (FileNotFoundError, ValueError):
        return Layout(name, 0, 0)
    return Layout(name, shape["index"], shape["node_count"])


def names() -> list[str]:
    return sorted(path.name for path in STATE_ROOT.glob("*") if path.is_dir())


def processes(layout: Layout) -> dict[str, ProcessId]:
    """The latest process of each name, whether it runs or not."""
    return dict(_records(layout.root / _PROCESSES))


def all_processes(layout: Layout) -> list[ProcessId]:
    return [process for _, process in _records(layout.root / _PROCESSES)]


def _records(path: Path) -> list[tuple[str, ProcessId]]:
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut off by a crash, while its process had not done anything yet
        found.append((record["name"], ProcessId(record["pid"], record["start_ticks"])))
    return found
