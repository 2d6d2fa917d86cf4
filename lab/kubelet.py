"""Runs pods: their namespace and wire, and the process that runs their containers."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import links
from lab.backoff import MESH_PROCESS
from lab.containers import PodRun, pod_run
from lab.documents import Body
from lab.journal import Journal
from lab.layout import Layout
from lab.lifeline import LIFELINE
from lab.netns import create_netns, delete_netns, netns_inode, netns_path
from lab.pod_runner import write_pod_run
from lab.processes import kill_all

# Python first: a manifest's "python3" is then the one that runs the lab, and every machine has it.
CONTAINER_PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Beyond its grace period the runner only waits for the kernel.
_RUNNER_MARGIN_S = 2.0
_SWEEP_TIME_LIMIT_S = 5.0

# Called with the pod's uid and how its runner says that it is.
OnStatus = Callable[[str, dict[str, Any]], None]
_LOST: dict[str, Any] = {"phase": "Pending", "ready": False, "restarts": {}}


@dataclass(slots=True)
class RunningPod:
    """A pod that has its namespace.

    Args:
        runner: its process, None between two runs.
        entered: whether the runner is in the pod's namespaces, so that others may follow it there.
    """

    uid: str
    node: str
    netns: str
    host_network: bool
    run: PodRun
    runner: asyncio.subprocess.Process | None = None
    entered: bool = False
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def port(self) -> str:
        """The node's end of its wire: 11 bytes that no other pod has."""
        return f"pod{self.uid[:8]}"


class Kubelet:
    """All nodes' kubelets in one."""

    def __init__(self, layout: Layout, journal: Journal, tasks: asyncio.TaskGroup, on_status: OnStatus) -> None:
        self._layout = layout
        self._journal = journal
        self._tasks = tasks
        self._on_status = on_status
        self.pods: dict[str, RunningPod] = {}

    def connect(self, body: Body) -> None:
        """Makes a pod's namespace and wire, and shows it to the node's agent. Blocks for some milliseconds."""
        metadata, spec = body["metadata"], body["spec"]
        namespace, name, node = metadata["namespace"], metadata["name"], spec["nodeName"]
        host_network = bool(spec.get("hostNetwork"))
        netns = self._layout.node_netns(node) if host_network else self._layout.pod_netns(namespace, name)
        log = self._layout.pod_log(namespace, name)
        log.parent.mkdir(parents=True, exist_ok=True)
        run = pod_run(body, netns=str(netns_path(netns)), hosts=str(self._layout.hosts(namespace)), log=str(log), path=CONTAINER_PATH)
        pod = RunningPod(metadata["uid"], node, netns, host_network, run)
        self.pods[pod.uid] = pod
        if not host_network:
            self._journal.netns(netns)
            create_netns(netns)
            first, second = (one["ip"] for one in body["status"]["podIPs"])
            links.connect_pod(self._layout, node, pod.port, netns, (first, second))
            (self._layout.pod_links(node) / pod.uid).symlink_to(netns_path(netns))

    def start(self, uid: str) -> None:
        """Starts the containers of a pod that is connected."""
        pod = self.pods[uid]
        pod.task = self._tasks.create_task(self._keep_running(pod), name=f"pod {pod.run.hostname}")

    async def stop(self, uid: str) -> None:
        """Ends a pod's containers, within their grace period, and takes its namespace away."""
        pod = self.pods[uid]
        pod.stopping.set()
        if pod.task is not None:
            if pod.runner is not None:
                pod.runner.terminate()
            await asyncio.wait([pod.task], timeout=pod.run.grace_s + _RUNNER_MARGIN_S)
            pod.task.cancel()
            await asyncio.gather(pod.task, return_exceptions=True)
        await asyncio.to_thread(self._disconnect, pod)
        del self.pods[uid]

    def _disconnect(self, pod: RunningPod) -> None:
        if pod.host_network:
            return
        _sweep(pod)
        (self._layout.pod_links(pod.node) / pod.uid).unlink(missing_ok=True)
        links.disconnect_pod(self._layout, pod.node, pod.port)
        delete_netns(pod.netns)
        self._journal.netns_gone(pod.netns)

    async def _keep_running(self, pod: RunningPod) -> None:
        backoff = MESH_PROCESS
        while not pod.stopping.is_set():
            started = time.monotonic()
            await self._run_once(pod)
            if pod.stopping.is_set():
                return
            self._on_status(pod.uid, _LOST)
            await asyncio.to_thread(_sweep, pod)
            backoff = backoff.after(time.monotonic() - started)
            await asyncio.sleep(backoff.delay_s)

    async def _run_once(self, pod: RunningPod) -> None:
        with open(pod.run.log, "ab") as log:  # noqa: ASYNC230, PTH123 a file of /run: no disk to wait for
            pod.runner = runner = await asyncio.create_subprocess_exec(
                *LIFELINE, sys.executable, "-m", "lab.pod_runner", cwd="/", stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert runner.stdin is not None
        assert runner.stdout is not None
        try:
            runner.stdin.write(write_pod_run(pod.run).encode() + b"\n")
            async for line in runner.stdout:
                # Its first word comes from inside.
                pod.entered = True
                self._on_status(pod.uid, json.loads(line))
            await runner.wait()
        finally:
            pod.runner, pod.entered = None, False
            if runner.returncode is None:
                runner.kill()


def _sweep(pod: RunningPod) -> None:
    """Kills what containers left in the pod's namespace."""
    inode = netns_inode(pod.netns)
    if not pod.host_network and inode is not None:
        kill_all(frozenset((inode,)), (), _SWEEP_TIME_LIMIT_S)
