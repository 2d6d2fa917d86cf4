"""The network namespaces of the node's pods, found by their processes: whatever runs containers, a pod has a control group."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from daemonset.kubernetes.cgroups import pod_uid
from daemonset.reconcile import NetnsId

# A line a controller of version 1; more is nothing that a kernel writes.
_MAX_CGROUP_BYTES = 8192


class ProcessNamespaces:
    """Remembers a process of each pod, and looks through all processes only while a pod is asked for whose process is not known.

    Args:
        proc: /proc, of the node's processes.
        node_netns: file of the node's own network namespace; a pod on the node's network has none of its own.
    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, proc: Path, node_netns: Path) -> None:
        self._proc = proc
        self._node = _identity(node_netns)
        self._processes: dict[str, int] = {}

    def scan(self, uids: Collection[str], wanted: frozenset[str]) -> Mapping[str, NetnsId]:
        """The namespaces of these pods, by uid. Blocks on /proc.

        Args:
            wanted: of these, those that are searched for where no process is known; the others are passed over.
        """
        found = {uid: netns for uid in uids if (netns := self._look(uid)) is not None}
        if missing := wanted - found.keys():
            self._search(missing)
            found |= {uid: netns for uid in missing if (netns := self._look(uid)) is not None}
        self._processes = {uid: pid for uid, pid in self._processes.items() if uid in found}
        return found

    def open(self, uid: str) -> int:
        """A descriptor of the pod's namespace. Raises OSError: its process has ended."""
        pid = self._processes.get(uid)
        if pid is None:
            raise FileNotFoundError(uid)
        return os.open(self._proc / str(pid) / "ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _look(self, uid: str) -> NetnsId | None:
        """The namespace of the pod's known process, if that is still the pod's: numbers of processes are used again."""
        pid = self._processes.get(uid)
        if pid is None or self._pod_of(pid) != uid:
            return None
        try:
            netns = _identity(self._proc / str(pid) / "ns/net")
        except OSError:
            return None
        return netns if netns != self._node else None

    def _search(self, uids: frozenset[str]) -> None:
        for name in os.listdir(self._proc):  # noqa: PTH208  a Path for each of thousands of processes takes longer than the rest
            if name.isdecimal() and (uid := self._pod_of(int(name))) in uids and uid is not None:
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
