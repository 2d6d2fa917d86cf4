"""The network namespaces of the node's pods, found by their processes: whatever runs containers, a pod has a control group."""

import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from daemonset.kubernetes.cgroups import pod_uid
from daemonset.reconcile import NetnsId

# A line a controller of version 1; more is nothing that a kernel writes.
_MAX_CGROUP_BYTES = 8192
# The API server tells of a pod within a second; a node that is busy, within some.
_HEARD_OF_S = 60.0


class ProcessNamespaces:
    """Remembers a process of each pod, and looks through all processes only while a pod is asked for whose process is not known.

    Args:
        proc: /proc, of the node's processes.
        node_netns: file of the node's own network namespace; a pod on the node's network has none of its own.
        now: seconds, of a clock that never goes back.
    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, proc: Path, node_netns: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._node = _identity(node_netns)
        self._processes: dict[str, int] = {}
        self._now = now
        # With the time at which each came.
        self._handed: dict[str, tuple[int, float]] = {}
        # A scan runs in a thread of its own.
        self._lock = threading.Lock()

    def hand_over(self, uid: str, netns: int) -> None:
        """A pod that has no process yet is about to start in this namespace.

        Args:
            netns: a descriptor, which belongs to this object when the call returns.
        Raises:
            OSError: it is no network namespace, or it is the node's own.
        """
        status = os.fstat(netns)
        if status.st_dev != self._node[0] or status.st_ino == self._node[1]:
            raise OSError(errno.EINVAL, "no network namespace of a pod")
        with self._lock:
            self._take_back(uid)
            self._handed[uid] = netns, self._now()

    def _take_back(self, uid: str) -> None:
        if uid in self._handed:
            os.close(self._handed.pop(uid)[0])

    def scan(self, uids: Collection[str], wanted: frozenset[str]) -> Mapping[str, NetnsId]:
        """The namespaces of these pods, by uid. Blocks on /proc.

        Args:
            wanted: of these, those that are searched for where no process is known; the others are passed over.
        """
        with self._lock:
            return self._scan(uids, wanted)

    def _scan(self, uids: Collection[str], wanted: frozenset[str]) -> Mapping[str, NetnsId]:
        found = {uid: netns for uid in uids if (netns := self._look(uid)) is not None}
        if missing := wanted - self._processes.keys():
            self._search(missing)
            found |= {uid: netns for uid in missing if (netns := self._look(uid)) is not None}
        self._processes = {uid: pid for uid, pid in self._processes.items() if uid in found}
        for uid, (_, since) in list(self._handed.items()):
            # Whoever asks may not have heard yet of a pod that was handed over just now.
            if uid in self._processes or (uid not in uids and self._now() - since > _HEARD_OF_S):
                self._take_back(uid)
        return found

    def open(self, uid: str) -> int:
        """A descriptor of the pod's namespace. Raises OSError: its process has ended."""
        with self._lock:
            pid = self._processes.get(uid)
            if pid is not None:
                return os.open(self._proc / str(pid) / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if uid in self._handed:
                return os.dup(self._handed[uid][0])
            raise FileNotFoundError(uid)

    def _look(self, uid: str) -> NetnsId | None:
        """The namespace of the pod's known process, if that is still the pod's: numbers of processes are used again."""
        pid = self._processes.get(uid)
        if pid is not None and self._pod_of(pid) == uid and (netns := self._netns_of(pid)) is not None:
            return netns
        self._processes.pop(uid, None)
        handed = self._handed.get(uid)
        if handed is None:
            return None
        status = os.fstat(handed[0])
        return status.st_dev, status.st_ino

    def _netns_of(self, pid: int) -> NetnsId | None:
        """None: it has ended, or is in the node's own: a runtime on its way is in the pod's group before it is in its namespace."""
        try:
            netns = _identity(self._proc / str(pid) / "ns/net")
        except OSError:
            return None
        return netns if netns != self._node else None

    def _search(self, uids: frozenset[str]) -> None:
        for name in os.listdir(self._proc):  # noqa: PTH208  a Path for each of thousands of processes takes longer than the rest
            uid = self._pod_of(int(name)) if name.isdecimal() else None
            if uid is not None and uid in uids and self._netns_of(int(name)) is not None:
                self._processes[uid] = int(name)

    def _pod_of(self, pid: int) -> str | None:
        try:
            with open(self._proc / str(pid) / "cgroup", "rb") as file:  # noqa: PTH123  as above
                return pod_uid(file.read(_MAX_CGROUP_BYTES).decode(errors="replace"))
        except OSError:
            return None  # it has ended


def _identity(path: Path) -> NetnsId:
    status = path.stat()
    return status.st_dev, status.st_ino
