"""A cluster as an agent's surroundings: it tells of the node's pods, and is told what became of them."""

import asyncio
import contextlib
import datetime as dt
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from daemonset.cni.installation import Installation
from daemonset.cni.server import CniServer
from daemonset.config import CniSettings, KubernetesSettings
from daemonset.kubernetes.announcer import Announcer
from daemonset.kubernetes.events import EventWriter
from daemonset.kubernetes.namespaces import ProcessNamespaces
from daemonset.kubernetes.node_objects import NodeObjects
from daemonset.kubernetes.starting import Starting
from daemonset.kubernetes.taint import remove_taint
from daemonset.news import PodNews
from daemonset.pods import pods_of_node
from daemonset.surroundings import Look, Reporter
from mesh.errors import MeshError
from runtime.backoff import Backoff
from runtime.kubernetes import Api, load_access

_log = structlog.get_logger(scope="cluster")
# A pod's first process is announced by nobody; while one is waited for it is looked for that often, else once a second.
_SEARCH_S, _LOOK_S = 0.1, 1.0
# A pod that has no process for longer than this waits for something else: an image, a volume.
_SEARCH_FOR_S = 20.0
_RETRY = Backoff(0.5, 30.0)


class Cluster:
    """Args:
    node_name: whose pods.
    node_netns: file of its own network namespace.
    """

    def __init__(self, settings: KubernetesSettings, node_name: str, node_netns: Path) -> None:
        self._settings, self._node_name = settings, node_name
        self._namespaces = ProcessNamespaces(settings.proc_dir, node_netns)
        self._stack = contextlib.AsyncExitStack()
        self._group = asyncio.TaskGroup()
        self._searching_since: dict[str, float] = {}
        self._plugin = _installation(settings.cni)
        self._api: Api
        self._objects: NodeObjects
        self._events: EventWriter

    async def __aenter__(self) -> Self:
        access = await load_access(self._settings.kubeconfig)
        self._api = await self._stack.enter_async_context(Api(access, self._settings.kubeconfig))
        self._objects = NodeObjects(self._api, self._node_name)
        self._events = EventWriter(self._api, self._node_name, self._settings.pod_name, lambda: dt.datetime.now(dt.UTC))
        await self._stack.enter_async_context(self._group)
        followers = [self._group.create_task(one.follow()) for one in self._objects.reflectors]
        self._stack.callback(lambda: [one.cancel() for one in followers])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def looks(self, stopping: asyncio.Event) -> AsyncIterator[Look]:
        first = True
        while not stopping.is_set():
            self._objects.changed.clear()
            wait_s = _LOOK_S
            if self._objects.complete:
                look = await self._look(everywhere=first)
                wait_s, first = self._wait_s(look), False
                yield look
            await _first_of(stopping, self._objects.changed, wait_s)

    async def _look(self, *, everywhere: bool) -> Look:
        """Args:
        everywhere: look also for pods that do not belong in the mesh, of which an earlier agent may have left something.
        """
        node = pods_of_node(self._objects.pods, self._objects.namespaces, self._node_name)
        if self._settings.uninstall:
            node = replace(node, wanted=frozenset())
        wanted = node.wanted if not everywhere else frozenset(node.known)
        return Look(node, await asyncio.to_thread(self._namespaces.scan, frozenset(node.known), wanted))

    def _wait_s(self, look: Look) -> float:
        now = time.monotonic()
        missing = look.node.wanted - look.netns.keys()
        self._searching_since = {uid: self._searching_since.get(uid, now) for uid in missing}
        return _SEARCH_S if any(now - since < _SEARCH_FOR_S for since in self._searching_since.values()) else _LOOK_S

    def open_netns(self, uid: str) -> int:
        return self._namespaces.open(uid)

    def tell(self, news: PodNews) -> None:
        self._events.tell(news)

    def ready(self, agent: Reporter) -> bool:
        if self._settings.uninstall:
            return not agent.captured()
        return self._plugin is None or self._plugin.installed

    async def report(self, agent: Reporter) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(Announcer(self._api, lambda: self._objects.pods).run(agent))
            group.create_task(self._events.run())
            if self._settings.cni is not None and self._plugin is not None and self._settings.uninstall:
                await asyncio.to_thread(self._plugin.remove)
                self._settings.cni.socket.unlink(missing_ok=True)
            elif self._settings.cni is not None and self._plugin is not None:
                starting = Starting(self._api, self._objects, self._namespaces, self._settings.proc_dir / "1/root")
                group.create_task(CniServer(self._settings.cni.socket, lambda question: starting.start(question, agent)).run())
                group.create_task(self._plugin.keep(agent.owns))
            if not self._settings.uninstall:
                group.create_task(self._welcome_pods(agent))

    async def _welcome_pods(self, agent: Reporter) -> None:
        """Removes the taint that keeps pods away from a node whose agent is not there yet."""
        failures = 0
        while not self.ready(agent):
            await asyncio.sleep(_SEARCH_S)
        while True:
            try:
                if await remove_taint(self._api, self._node_name):
                    return
            except MeshError as error:
                _log.warning("taint_not_removed", error=str(error))
            failures += 1
            await asyncio.sleep(_RETRY.delay_s(failures, random.random()))


def _installation(cni: CniSettings | None) -> Installation | None:
    if cni is None:
        return None
    entry = {"socket": str(cni.socket), "excludeNamespaces": list(cni.exclude_namespaces)}
    return Installation(cni.program, cni.bin_dir, cni.conf_dir, entry)


async def _first_of(stopping: asyncio.Event, changed: asyncio.Event, timeout_s: float) -> None:
    """Waits for either event, `timeout_s` at most."""
    waiting = [asyncio.ensure_future(one.wait()) for one in (stopping, changed)]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
