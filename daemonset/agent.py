"""Keeps the pods of this node as their labels ask, from events and from a periodic check.

What is done to one pod is one action at a time; pods do not wait for each other. Nothing is torn down when the agent ends.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import structlog

from daemonset.actions import Actions, HeldPod
from daemonset.capture.capturer import Capturer
from daemonset.news import Kind, PodNews, ignore
from daemonset.node.probes import ProbeRules
from daemonset.ownership import Ownership
from daemonset.pods import NodePods, PodInfo
from daemonset.reconcile import Action, Held, NetnsId, Stage, reconcile
from daemonset.zds.server import ZdsServer
from mesh.errors import CaptureError
from mesh.model import IPAddress

_log = structlog.get_logger(scope="agent")
# Between two attempts at one pod: a label takes effect within some seconds also where the first one failed.
_RETRY_S = 1.0
# Between two checks of all pods; and after each pod so many times what its check took: a twentieth of a core at most.
_CHECK_S = 3.0
_CHECK_SHARE = 20


class Agent:
    """The pods that are held, and what is under way with them.

    Args:
        open_netns: opens a pod's network namespace, by uid.
        group: owns the actions.
        tell: is told what happens to pods.
    """

    def __init__(
        self,
        open_netns: Callable[[str], int],
        socket_path: Path,
        capturer: Capturer,
        probes: ProbeRules,
        ownership: Ownership,
        group: asyncio.TaskGroup,
        tell: Callable[[PodNews], None] = ignore,
    ) -> None:
        self._open_netns = open_netns
        self._tell = tell
        self._capturer = capturer
        self._probes = probes
        self._ownership = ownership
        self._group = group
        self._pods: dict[str, HeldPod] = {}
        self._node = NodePods({}, frozenset())
        self._netns: Mapping[str, NetnsId] = {}
        self._wake = asyncio.Event()
        self.zds = ZdsServer(socket_path, self._acknowledged)
        self._actions = Actions(capturer, self.zds, probes, lambda uid: uid in self._node.wanted)

    def pods(self) -> list[dict[str, Any]]:
        """Each held pod, as docs/runtime.md has it under /pods."""
        return [
            {
                "uid": uid,
                "namespace": pod.info.namespace,
                "name": pod.info.name,
                "captured": pod.stage is Stage.CAPTURED,
                "error": pod.error or self.zds.refusal(uid),
            }
            for uid, pod in self._pods.items()
        ]

    def captured(self) -> dict[str, bool | None]:
        """Each held pod by uid: whether it is captured and verified; None: an earlier agent captured it, and it was not verified yet."""
        return {uid: _captured(pod) for uid, pod in self._pods.items()}

    def errors(self) -> dict[str, str]:
        """What holds up a pod, by uid."""
        return {uid: error for uid, pod in self._pods.items() if (error := pod.error or self.zds.refusal(uid))}

    def owns(self) -> bool:
        """Whether this agent acts: of two on a node, the one that came last."""
        return self._ownership.held()

    async def adopt_held(self, node: NodePods, netns: Mapping[str, NetnsId]) -> None:
        """Finds what an earlier agent left of pods that are no longer wanted; those that are will be enrolled as any other.

        Must run before ztunnel is served: what is held must be in the first snapshot, or ztunnel would drop it.
        """
        self._node, self._netns = node, netns
        for uid in netns.keys() - node.wanted:
            info = node.known.get(uid, PodInfo(uid, uid, "", ""))
            pod = self._open(info, netns[uid])
            if pod is not None and await self._holds_anything(pod):
                await self._hold(pod)
            elif pod is not None:
                os.close(pod.site.netns)
        for uid in self._capturer.pinned() - netns.keys():
            await asyncio.to_thread(self._capturer.unpin, uid)
        await self._act()

    async def _addresses(self, pod: HeldPod) -> frozenset[IPAddress]:
        try:
            return await self._capturer.addresses(pod.site)
        except CaptureError:
            return frozenset()  # enrolling it will say why

    async def _holds_anything(self, pod: HeldPod) -> bool:
        try:
            return await self._capturer.holds_anything(pod.site)
        except CaptureError as error:
            _log.warning("pod_unreadable", uid=pod.info.uid, error=str(error))
            return False

    def update(self, node: NodePods, netns: Mapping[str, NetnsId]) -> None:
        """Takes a new look at what is wanted and what namespaces there are."""
        self._node, self._netns = node, netns
        self._wake.set()

    async def run(self) -> None:
        """Does what follows from updates and finished actions, until cancelled."""
        while True:
            self._wake.clear()
            if self.owns():
                await self._act()
            now = time.monotonic()
            waiting = [pod.retry_at_s - now for pod in self._pods.values() if pod.retry_at_s > now]
            try:
                async with asyncio.timeout(min(waiting, default=None)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _act(self) -> None:
        now = time.monotonic()
        held = {uid: Held(pod.netns_id, pod.stage, pod.busy, pod.retry_at_s <= now) for uid, pod in self._pods.items()}
        for uid, action in reconcile(self._node.wanted, self._netns, held).items():
            pod = self._pods.get(uid) or self._open(self._node.known[uid], self._netns[uid])
            if pod is None:
                continue
            if uid not in self._pods:
                await self._hold(pod)
            match action:
                case Action.ENROL:
                    self._start(pod, self._actions.enrol(pod), Kind.CAPTURED)
                case Action.RELEASE:
                    self._start(pod, self._actions.release(pod), Kind.RELEASED)
                case Action.FORGET:
                    self._start(pod, self._actions.forget(pod), None)

    def _open(self, info: PodInfo, netns_id: NetnsId) -> HeldPod | None:
        """Opens the pod's namespace; None: it has just gone or changed."""
        try:
            netns = self._open_netns(info.uid)
        except OSError:
            return None
        status = os.fstat(netns)
        if (status.st_dev, status.st_ino) != netns_id:
            os.close(netns)
            return None
        return HeldPod(info, netns_id, self._capturer.site(info.uid, str(info), netns))

    async def _hold(self, pod: HeldPod) -> None:
        self._pods[pod.info.uid] = pod
        pod.addresses = await self._addresses(pod)
        if pod.info.uid in self._node.announced:
            pod.held_before = await self._holds_anything(pod)
        await self.zds.register(pod.info, pod.site.netns)

    def _start(self, pod: HeldPod, action: Coroutine[Any, Any, bool], told: Kind | None) -> None:
        pod.busy = True
        self._group.create_task(self._finish(pod, action, told))

    async def _finish(self, pod: HeldPod, action: Awaitable[bool], told: Kind | None) -> None:
        """Runs an action to its end; a failure is told once, and tried again after _RETRY_S.

        Args:
            told: what is told when it has done what it was to do; None: nobody is left to be told of.
        """
        try:
            done = await action
            pod.error, pod.retry_at_s = "", 0.0
            if done and told is not Kind.CAPTURED:
                del self._pods[pod.info.uid]
            if done and told is not None:
                self._tell(PodNews(pod.info, told))
        except CaptureError as error:
            self._fail(pod, error)
        finally:
            pod.busy = False
            self._wake.set()

    def _fail(self, pod: HeldPod, error: CaptureError) -> None:
        if pod.error != str(error):
            _log.error("pod_failed", pod=pod.site.name, uid=pod.info.uid, stage=pod.stage.value, error=str(error))
            self._tell(PodNews(pod.info, Kind.FAILED, str(error)))
        pod.error, pod.retry_at_s = str(error), time.monotonic() + _RETRY_S

    def _acknowledged(self, uid: str) -> None:
        """A ztunnel has opened a pod's listeners; of one that is captured they go into the map now."""
        pod = self._pods.get(uid)
        if pod is None:
            return
        if pod.stage is Stage.ENTERING:
            pod.retry_at_s = 0.0
            self._wake.set()
        else:
            self._group.create_task(self._adopt(pod))

    async def _adopt(self, pod: HeldPod) -> None:
        try:
            await self._capturer.adopt(pod.site)
            _log.info("listeners_adopted", pod=pod.site.name, uid=pod.info.uid)
        except CaptureError as error:
            self._fail(pod, error)

    async def patrol(self) -> None:
        """Checks captured pods, one after the other, until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_S)
            if not self.owns():
                continue
            for uid in list(self._pods):
                # Looked up again: while others were checked it may have gone, and its descriptor be that of another pod's namespace.
                pod = self._pods.get(uid)
                if pod is not None and pod.stage is Stage.CAPTURED and not pod.busy:
                    await asyncio.sleep(_CHECK_SHARE * await self._check(pod))
            await self._probes.keep(frozenset(address for pod in self._pods.values() for address in pod.addresses))

    async def _check(self, pod: HeldPod) -> float:
        """Checks one pod; returns the seconds that it took."""
        started = time.monotonic()
        pod.busy = True
        try:
            await self._actions.check(pod)
            pod.error = ""
        except CaptureError as error:
            self._fail(pod, error)
        finally:
            pod.busy = False
            self._wake.set()
        return time.monotonic() - started


def _captured(pod: HeldPod) -> bool | None:
    if pod.stage is Stage.ENTERING and pod.held_before:
        return None
    return pod.stage is Stage.CAPTURED
