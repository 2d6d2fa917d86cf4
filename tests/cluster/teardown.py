"""Undoes a cluster, whatever there is of it."""

import os
import shutil
import signal
import time
from pathlib import Path

from pyroute2 import IPRoute

from lab.netns import delete_netns
from lab.processes import is_running, kill_all
from tests.cluster import journal
from tests.cluster.layout import Layout, Node
from tests.cluster.node import CGROUPS, CONTROLLERS

_KILL_TIME_LIMIT_S = 20.0
# The kernel takes a moment to see that the last process of a group is gone.
_REMOVE_TIME_LIMIT_S = 10.0
_POLL_S = 0.05


class NotRemoved(Exception):
    """Something would not go."""


def tear_down(layout: Layout) -> None:
    """Ends every process, then removes namespaces, links, control groups and files.

    Raises:
        NotRemoved: a process or a control group stays.
    """
    # Ending a node's first process ends all of its namespace; what it was about to start is gone with it.
    left = kill_all(frozenset(), journal.all_processes(layout), _KILL_TIME_LIMIT_S)
    if left:
        raise NotRemoved(f"processes {', '.join(map(str, sorted(left)))} do not die")
    for node in layout.nodes:
        _kill_group(node)
        delete_netns(node.netns)
        for controller in CONTROLLERS:
            _remove_group(CGROUPS / controller / node.cgroup)
    # A wire goes with its namespace, but only when the kernel gets around to it.
    with IPRoute() as ip:
        for name in (*map(layout.port, layout.nodes), layout.bridge) if layout.node_count else ():
            for index in ip.link_lookup(ifname=name):
                ip.link("del", index=index)
    shutil.rmtree(layout.root)


def _kill_group(node: Node) -> None:
    """Kills what is in the node's pods and outlived its first process."""
    deadline = time.monotonic() + _KILL_TIME_LIMIT_S
    group = CGROUPS / "pids" / node.cgroup
    while pids := [int(pid) for procs in group.rglob("cgroup.procs") for pid in procs.read_text().split()]:
        if time.monotonic() > deadline:
            raise NotRemoved(f"processes {', '.join(map(str, pids))} of {node.name} do not die")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(_POLL_S)


def _remove_group(group: Path) -> None:
    """Control groups are removed from the innermost out."""
    deadline = time.monotonic() + _REMOVE_TIME_LIMIT_S
    while group.is_dir():
        for path in (*sorted((one for one in group.rglob("*") if one.is_dir()), key=lambda one: -len(one.parts)), group):
            try:
                path.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise NotRemoved(f"{path}: {error.strerror}") from None
        if group.is_dir():
            time.sleep(_POLL_S)


def running(layout: Layout) -> dict[str, bool]:
    """Whether each program still runs, by its name."""
    return {name: is_running(process) for name, process in journal.processes(layout).items()}
