"""Undoes a lab, from what its journal says: after a crash, after `kill -9` of anything, and in the ordinary case alike."""

import shutil
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from lab.bpffs import unmount
from lab.errors import LabError
from lab.journal import Created, ProcessId, reduce_journal
from lab.layout import NETNS_DIR, Layout
from lab.netns import delete_netns, netns_inode
from lab.processes import is_running, kill_all, process_id

# The kernel ends a killed process within milliseconds, unless it hangs in a driver.
_KILL_TIME_LIMIT_S = 10.0


def read_created(layout: Layout) -> Created:
    """What there is of the lab; nothing when it was never started. Where somebody destroyed the journal, names tell instead."""
    try:
        created = reduce_journal(layout.state.read_text(errors="replace"))
    except FileNotFoundError:
        created = Created()
    if created.daemon is not None or not layout.root.exists():
        return created
    # No other lab's names begin like this: layout.py sees to it.
    names = tuple(path.name for path in NETNS_DIR.glob(f"{layout.name}-*"))
    return Created(names, (str(layout.bpffs),), _listener(layout.control_socket))


def _listener(path: Path) -> ProcessId | None:
    """The process that listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return process_id(pid)


def is_alive(layout: Layout) -> bool:
    daemon = read_created(layout).daemon
    return daemon is not None and is_running(daemon)


def tear_down(layout: Layout) -> bool:
    """Leaves nothing of the lab; returns whether there was anything.

    Raises:
        LabError: a process would not die.
        OSError: a mount or directory cannot be removed.
    """
    if not layout.root.exists():
        return False
    daemon = read_created(layout).daemon
    # The daemon first: it starts again what ends, and may be about to create something.
    _kill((), () if daemon is None else (daemon,))
    created = read_created(layout)
    _kill(created.netns, ())
    for mount in reversed(created.mounts):
        unmount(Path(mount))
    for name in reversed(created.netns):
        delete_netns(name)
    shutil.rmtree(layout.root)
    return True


def _kill(netns: Iterable[str], also: Iterable[ProcessId]) -> None:
    inodes = frozenset(inode for name in netns if (inode := netns_inode(name)) is not None)
    left = kill_all(inodes, also, _KILL_TIME_LIMIT_S)
    if left:
        raise LabError(f"processes {', '.join(map(str, sorted(left)))} do not die; try again, or restart the machine")
