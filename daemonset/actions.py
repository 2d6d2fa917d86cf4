"""What the agent does to one pod: enrol, release, forget, check. One at a time for each pod; the order is docs/runtime.md's."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from daemonset.capture.capturer import Capturer
from daemonset.capture.kernel import Site
from daemonset.node.probes import ProbeRules
from daemonset.pods import PodInfo
from daemonset.reconcile import NetnsId, Stage
from daemonset.zds.server import ZdsServer
from mesh.errors import CaptureError
from mesh.model import IPAddress

_log = structlog.get_logger(scope="pods")
# A ztunnel that is there answers in milliseconds. After this the pod is looked at anew: it may have left the mesh meanwhile.
_SERVE_TIMEOUT_S = 1.0
_DELETE_TIMEOUT_S = 10.0
# How long connections go on that ztunnel carries for a pod that leaves the mesh; as long as ztunnel's own DRAIN_TIMEOUT_S.
_DRAIN_S = 5.0
# ztunnel acknowledges the end of a pod at once, and closes its connections within its drain timeout; they take a moment to end.
_CLOSE_S = 6.0
_POLL_S = 0.1
# Peers learn from the control plane that a pod is to be reached without tunnel; until then it is served as before.
_FAREWELL_S = 0.5


@dataclass(slots=True)
class HeldPod:
    """A pod that the agent holds.

    Args:
        site: with the file descriptor of its namespace, which belongs to this.
        error: why it is not captured or not served; "" when all is well.
        addresses: of the pod's devices, once its namespace was looked at.
        held_before: of one that is not captured yet: an earlier agent captured it, as far as can be seen.
        retry_at_s: time.monotonic() of the next attempt after a failure.
    """

    info: PodInfo
    netns_id: NetnsId
    site: Site
    stage: Stage = Stage.ENTERING
    error: str = ""
    busy: bool = False
    retry_at_s: float = 0.0
    held_before: bool = False
    addresses: frozenset[IPAddress] = frozenset()


class Actions:
    """Args:
    wanted: whether a pod belongs in the mesh now; asked while a release may still be taken back.
    """

    def __init__(self, capturer: Capturer, zds: ZdsServer, probes: ProbeRules, wanted: Callable[[str], bool]) -> None:
        self._capturer = capturer
        self._zds = zds
        self._probes = probes
        self._wanted = wanted

    async def enrol(self, pod: HeldPod) -> bool:
        """Waits until ztunnel serves the pod, captures and verifies it.

        Raises:
            CaptureError: it is not captured; it stays with ztunnel for the next attempt.
        """
        started = time.monotonic()
        if not await self._zds.wait_served(pod.info.uid, _SERVE_TIMEOUT_S):
            raise CaptureError(pod.site.name, self._zds.refusal(pod.info.uid) or "ztunnel has not acknowledged", 0)
        pod.addresses = await self._capturer.addresses(pod.site)
        await self._probes.cover(pod.addresses)
        steps = await self._capturer.capture(pod.site)
        findings = await self._capturer.verify(pod.site)
        if findings:
            raise CaptureError(pod.site.name, "; ".join(map(str, findings)), 0)
        pod.stage = Stage.CAPTURED
        _log.info("pod_captured", pod=pod.site.name, uid=pod.info.uid, steps=len(steps), ms=_since_ms(started))
        return True

    async def release(self, pod: HeldPod) -> bool:
        """Ends capture, then the pod's time with ztunnel, then removes what is left; True: nothing is held any more.

        New connections go direct from the beginning. Those that ztunnel carries get _DRAIN_S to end by themselves, then ztunnel ends
        them. While they drain the pod may be wanted again: False, and it is to be enrolled.
        Raises:
            CaptureError: a step failed; the next attempt goes on from there.
        """
        started = time.monotonic()
        pod.stage = Stage.LEAVING
        if await self._capturer.holds_anything(pod.site):
            await asyncio.sleep(_FAREWELL_S)
            if self._wanted(pod.info.uid):
                pod.stage = Stage.ENTERING
                return False
            await self._capturer.drain(pod.site)
            left = await self._drained(pod, _DRAIN_S, lambda: self._wanted(pod.info.uid))
            if self._wanted(pod.info.uid):
                pod.stage = Stage.ENTERING
                return False
            if left:
                _log.info("pod_draining_ends", pod=pod.site.name, uid=pod.info.uid, connections=left)
        await self._withdraw(pod)
        await self._drained(pod, _CLOSE_S, lambda: False)
        await self._capturer.undo(pod.site)
        os.close(pod.site.netns)
        _log.info("pod_released", pod=pod.site.name, uid=pod.info.uid, ms=_since_ms(started))
        return True

    async def _drained(self, pod: HeldPod, timeout_s: float, give_up: Callable[[], bool]) -> int:
        """Waits until ztunnel carries no connection of the pod; returns how many are left."""
        deadline = time.monotonic() + timeout_s
        while (left := await self._capturer.carried(pod.site)) and time.monotonic() < deadline and not give_up():
            await asyncio.sleep(_POLL_S)
        return left

    async def _withdraw(self, pod: HeldPod) -> None:
        if not await self._zds.withdraw(pod.info.uid, _DELETE_TIMEOUT_S):
            _log.warning("pod_delete_unacknowledged", pod=pod.site.name, uid=pod.info.uid)

    async def forget(self, pod: HeldPod) -> bool:
        """Lets go of a pod whose namespace is gone, or is another now."""
        try:
            await self._capturer.undo(pod.site)
        except CaptureError as error:
            # The namespace may be half gone, and what was in it goes with it.
            _log.warning("pod_not_undone", pod=pod.site.name, uid=pod.info.uid, error=str(error))
            self._capturer.unpin(pod.info.uid)
        await self._withdraw(pod)
        os.close(pod.site.netns)
        _log.info("pod_gone", pod=pod.site.name, uid=pod.info.uid)
        return True

    async def check(self, pod: HeldPod) -> None:
        """Compares a captured pod's plan with the kernel, says what differs, and repairs it.

        Raises:
            CaptureError: it could not be repaired.
        """
        findings = await self._capturer.verify(pod.site)
        if findings:
            _log.warning("capture_differs", pod=pod.site.name, uid=pod.info.uid, findings=[str(finding) for finding in findings])
            steps = await self._capturer.capture(pod.site)
            _log.info("capture_repaired", pod=pod.site.name, uid=pod.info.uid, steps=len(steps))
        elif self._zds.connected:
            await self._capturer.adopt(pod.site)


def _since_ms(started_s: float) -> int:
    return round((time.monotonic() - started_s) * 1000)
