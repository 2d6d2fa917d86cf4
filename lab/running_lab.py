"""One running lab: scheduler, kubelet and kube-proxy of all nodes."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import links
from lab.addresses import CONTROLPLANE, node_names
from lab.cluster import Cluster, empty_cluster
from lab.control import Say
from lab.edits import Edit, apply_files
from lab.errors import LabError
from lab.journal import Journal
from lab.kubelet import Kubelet
from lab.layout import Layout
from lab.mesh_runner import MeshRunner
from lab.netns import create_netns
from lab.observing import agent_pods, certificate_serials, observe
from lab.options import Options
from lab.publisher import Publisher
from lab.redirection import announce, unannounced
from lab.resolve import with_deletion, with_status
from lab.status import Pending, describe

# How often the agents are asked after a change of labels, which is to take effect within a second.
_POLL_S = 0.1
# How often the agents are asked while labels and captures agree: pods that they lose are announced this late.
_IDLE_POLL_S = 1.0


class RunningLab:
    """All that changes the cluster runs on one event loop, one edit at a time. `mesh` are its programs."""

    def __init__(self, layout: Layout, options: Options, journal: Journal, tasks: asyncio.TaskGroup) -> None:
        self.layout = layout
        self._options = options
        self._journal = journal
        self._tasks = tasks
        self._publisher = Publisher(layout)
        self._publishing = asyncio.Lock()
        self._editing = asyncio.Lock()
        self._kubelet = Kubelet(layout, journal, tasks, self._on_pod_status)
        self.mesh = MeshRunner(layout, options, journal, tasks)
        self._cluster = empty_cluster(node_names(options.nodes))
        self._edited = asyncio.Event()

    async def start(self, files: Mapping[str, str], time_limit_s: float, say: Say) -> None:
        """Builds everything and waits until it is ready.

        Raises:
            LabError: the time is up; with the end of the log that tells why.
            ConfigErrors: the manifests are wrong.
            NetlinkError, OSError: the kernel refuses a step.
        """
        async with self._time_limit(time_limit_s):
            await self._build(files, say)
            await self._settle(say)

    async def _build(self, files: Mapping[str, str], say: Say) -> None:
        say(f"network of {self._options.nodes} nodes")
        await asyncio.to_thread(self._make_network)
        await self._publish()
        if self._options.mesh:
            await self.mesh.start(self._cluster.nodes, say)
            self._tasks.create_task(self._follow_captures())
        await self.edit(apply_files(files))
        say(f"{len(self._cluster.pods())} pods")

    async def edit(self, edit: Edit) -> None:
        """Makes a change come true: pods that are gone or replaced end first, then new ones start; it does not wait for them."""
        async with self._editing:
            gone = self._gone(edit(self._cluster))
            if gone:
                await self._end_pods(gone)
            self._cluster = edit(self._cluster)
            new = [body for body in self._cluster.bodies("Pod").values() if body["metadata"]["uid"] not in self._kubelet.pods]
            for body in new:
                await asyncio.to_thread(self._kubelet.connect, body)
            await self._publish()
            for body in new:
                self._kubelet.start(body["metadata"]["uid"])
        self._edited.set()

    async def _follow_captures(self) -> None:
        """Writes on pods what the agents say of them, until cancelled."""
        while True:
            self._edited.clear()
            said = await asyncio.to_thread(agent_pods, self.layout, self._cluster.nodes)
            announced = announce(self._cluster, said)
            if announced is not self._cluster:
                self._cluster = announced
                await self._publish()
            if unannounced(self._cluster):
                await asyncio.sleep(_POLL_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_POLL_S):
                    await self._edited.wait()

    async def describe(self) -> dict[str, Any]:
        """The document of `ambient lab status`."""
        programs = tuple(self.mesh.programs)
        observed = await asyncio.to_thread(observe, self.layout, self._cluster.nodes, programs, self._options)
        observed = replace(observed, stopped=self.mesh.stopped)
        options = {"capture": self._options.capture, "settings": dict(self._options.settings)}
        return {"lab": self.layout.name, **options, **describe(self._cluster, observed)}

    async def wait(self, time_limit_s: float, say: Say) -> None:
        """Waits until all pods are ready, and captured or not as their labels say.

        Raises:
            LabError: the time is up.
        """
        async with self._time_limit(time_limit_s):
            await self._settle(say)

    def pod(self, namespace: str, name: str) -> dict[str, Any]:
        """What it takes to run something in a pod: its runner, and its first container's environment.

        Raises:
            LabError: there is no such pod, or it does not run now.
        """
        body = self._cluster.bodies("Pod").get((namespace, name))
        if body is None:
            known = ", ".join("/".join(one) for one in sorted(self._cluster.bodies("Pod")))
            raise LabError(f"no pod {namespace}/{name}; there are: {known or 'none'}")
        pod = self._kubelet.pods.get(body["metadata"]["uid"])
        if pod is None or pod.runner is None or not pod.entered:
            raise LabError(f"pod {namespace}/{name} is not running now")
        first = pod.run.containers[0]
        return {"pid": pod.runner.pid, "netns": pod.netns, "node": pod.node, "env": dict(first.env), "directory": first.directory}

    async def serial_of(self, namespace: str, name: str) -> str:
        """The serial of a pod's certificate.

        Raises:
            LabError: there is no such pod, or no certificate for it.
        """
        pod = next((one for one in (await self.describe())["pods"] if (one["namespace"], one["name"]) == (namespace, name)), None)
        if pod is None:
            raise LabError(f"no pod {namespace}/{name}")
        serials = await asyncio.to_thread(certificate_serials, self.layout, pod["node"])
        if pod["identity"] not in serials:
            raise LabError(f"the ztunnel of {pod['node']} has no certificate for {pod['identity']}, the identity of pod {namespace}/{name}")
        return serials[pod["identity"]]

    def _make_network(self) -> None:
        nodes = self._cluster.nodes
        for name in (self.layout.bridge_netns, self.layout.controlplane_netns, *map(self.layout.node_netns, nodes)):
            self._journal.netns(name)
            create_netns(name)
        links.make_lab_bridge(self.layout)
        links.connect_to_lab(self.layout, self.layout.controlplane_netns, "controlplane", CONTROLPLANE)
        for node in nodes:
            links.connect_node(self.layout, node, nodes)
            self.layout.pod_links(node).mkdir(parents=True)
            (self.layout.logs / node).mkdir()

    def _gone(self, after: Cluster) -> frozenset[str]:
        """The uids of pods that run and are not there any more; a pod that is replaced has another uid."""
        return frozenset(self._kubelet.pods) - {body["metadata"]["uid"] for body in after.bodies("Pod").values()}

    async def _end_pods(self, uids: frozenset[str]) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = [key for key, entry in self._cluster.entries.items() if key[0] == "Pod" and entry.resolved["metadata"]["uid"] in uids]
        for key in keys:
            self._cluster = self._cluster.resolved(key, with_deletion(self._cluster.entries[key].resolved, now))
        await self._publish()
        await asyncio.gather(*(self._kubelet.stop(uid) for uid in uids))
        self._cluster = self._cluster.without(keys)
        await self._publish()

    def _on_pod_status(self, uid: str, status: Mapping[str, Any]) -> None:
        for key, entry in self._cluster.entries.items():
            if key[0] == "Pod" and entry.resolved["metadata"]["uid"] == uid and "deletionTimestamp" not in entry.resolved["metadata"]:
                body = with_status(entry.resolved, status["phase"], ready=status["ready"], restarts=status["restarts"])
                self._cluster = self._cluster.resolved(key, body)
                self._tasks.create_task(self._publish())
                return

    async def _publish(self) -> None:
        async with self._publishing:
            await asyncio.to_thread(self._publisher.publish, self._cluster)

    @contextlib.asynccontextmanager
    async def _time_limit(self, time_limit_s: float) -> AsyncIterator[None]:
        """Turns the end of the time into a LabError that says what is missing."""
        try:
            async with asyncio.timeout(time_limit_s):
                yield
        except TimeoutError:
            pending = (await self.describe())["pending"]
            raise LabError(f"not ready after {time_limit_s:g} s: {_listed(pending)}", self._log_of(pending)) from None

    async def _settle(self, say: Say) -> None:
        said: frozenset[str] = frozenset()
        while pending := (await self.describe())["pending"]:
            waiting = frozenset(f"waiting for {one['kind']} {one['name']}" for one in pending)
            for text in sorted(waiting - said):
                say(text)
            said |= waiting
            await asyncio.sleep(_POLL_S)

    def _log_of(self, pending: list[Pending]) -> Path | None:
        """Where the reason of the first stands."""
        if not pending:
            return None
        first = pending[0]
        program = next((one for one in self.mesh.programs if one.name == first["name"]), None)
        if first["kind"] == "program" and program is not None:
            return program.log
        if first["kind"] == "capture of pod":
            return self.layout.process_log("agent", first["node"])
        namespace, _, name = first["name"].partition("/")
        return self.layout.pod_log(namespace, name)


def _listed(pending: list[Pending]) -> str:
    return "; ".join(f"{one['kind']} {one['name']}: {one['reason']}" for one in pending) or "the last step"
