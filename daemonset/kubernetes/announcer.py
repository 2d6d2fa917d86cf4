"""Writes on pods whether they are captured."""

import asyncio
import random
from collections.abc import Callable, Collection

import structlog

from daemonset.kubernetes.announcing import Correction, corrections
from daemonset.surroundings import Reporter
from mesh.enrolment import REDIRECTION_ANNOTATION
from mesh.errors import ApiError, MeshError
from mesh.kubernetes import Pod
from runtime.backoff import Backoff
from runtime.kubernetes import Api
from runtime.kubernetes.resources import PODS

_log = structlog.get_logger(scope="announcer")
# Peers wait for it; to look costs a comparison for each pod of the node.
_LOOK_S = 0.1
_RETRY = Backoff(0.5, 30.0)
_NOT_FOUND = 404


class Announcer:
    """Args:
    pods: the node's pods, as the API server told last.
    """

    def __init__(self, api: Api, pods: Callable[[], Collection[Pod]]) -> None:
        self._api, self._pods = api, pods
        # What was written, and of which state of the pod it was the correction.
        self._written: dict[str, tuple[Pod, str | None]] = {}
        self._failures = 0

    async def run(self, agent: Reporter) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self._correct(agent)
                self._failures = 0
                await asyncio.sleep(_LOOK_S)
            except MeshError as error:
                self._failures += 1
                if self._failures == 1:
                    _log.warning("not_announced", error=str(error))
                await asyncio.sleep(_RETRY.delay_s(self._failures, random.random()))

    async def _correct(self, agent: Reporter) -> None:
        by_uid = {pod.metadata.uid: pod for pod in self._pods()}
        self._written = {uid: written for uid, written in self._written.items() if by_uid.get(uid) is written[0]}
        for one in corrections(by_uid.values(), agent.captured()):
            written = self._written.get(one.uid)
            if written is None or written[1] != one.value:
                await self._write(one)
                self._written[one.uid] = by_uid[one.uid], one.value

    async def _write(self, one: Correction) -> None:
        patch = {"metadata": {"uid": one.uid, "annotations": {REDIRECTION_ANNOTATION: one.value}}}
        try:
            # Whoever may write a pod's status may write its annotations, and less than who may write the pod.
            await self._api.merge(PODS, one.namespace, one.name, patch, "status")
        except ApiError as error:
            # It is gone; or one of the same name took its place, which has another uid (409).
            if error.status not in {_NOT_FOUND, 409}:
                raise
