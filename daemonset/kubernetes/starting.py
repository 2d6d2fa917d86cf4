"""Pods that are about to start: looked up, handed to the agent with their namespaces, and waited for."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from daemonset.cni.question import Question
from daemonset.kubernetes.namespaces import ProcessNamespaces
from daemonset.kubernetes.node_files import open_on_node
from daemonset.kubernetes.node_objects import NodeObjects
from daemonset.surroundings import Reporter
from mesh.enrolment import enrolled
from mesh.errors import CaptureError, ConfigErrors
from mesh.kubernetes import Namespace, Pod
from mesh.validation import read_object
from runtime.kubernetes import Api, Resource
from runtime.kubernetes.resources import NAMESPACES, PODS

_log = structlog.get_logger(scope="starting")
_POLL_S = 0.02
# Shorter than the plugin waits: it is told what holds the pod back.
_TIMEOUT_S = 25.0


class Starting:
    """Args:
    root: the node's file system, in which paths of namespaces are.
    """

    def __init__(self, api: Api, objects: NodeObjects, namespaces: ProcessNamespaces, root: Path) -> None:
        self._api, self._objects, self._namespaces, self._root = api, objects, namespaces, root

    async def start(self, question: Question, agent: Reporter) -> None:
        """Returns when the pod is captured, or is not to be.

        Raises:
            CaptureError: there is no such pod, or it is not captured in time.
            MeshError: the API server does not say.
            OSError: it has no network namespace.
        """
        pod = await self._find(question)
        if not enrolled(pod, await self._namespace(question.namespace)):
            return
        uid = pod.metadata.uid
        netns = open_on_node(self._root, question.netns)
        try:
            self._namespaces.hand_over(uid, netns)
        except OSError:
            os.close(netns)
            raise
        self._objects.expect(pod)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await _until(lambda: agent.captured().get(uid) is True)
        except TimeoutError:
            raise CaptureError(question.name, agent.errors().get(uid) or f"not captured within {_TIMEOUT_S:g} s", 0) from None
        _log.info("pod_starts_captured", pod=f"{question.namespace}/{question.name}", uid=uid)

    async def _find(self, question: Question) -> Pod:
        """The pod as it is now: the runtime may be ahead of what was told of it."""
        pod = await self._read(PODS, Pod, question.namespace, question.name)
        if not isinstance(pod, Pod) or (question.uid and pod.metadata.uid != question.uid):
            raise CaptureError(question.name, f"there is no pod {question.namespace}/{question.name} with uid {question.uid}", 0)
        return pod

    async def _namespace(self, name: str) -> Namespace | None:
        known = self._objects.namespaces.get(name)
        found = known or await self._read(NAMESPACES, Namespace, "", name)
        return found if isinstance(found, Namespace) else None

    async def _read(self, resource: Resource, kind: type[Pod] | type[Namespace], namespace: str, name: str) -> Any:
        data: Mapping[str, Any] | None = await self._api.get(resource, namespace, name)
        try:
            return read_object(kind, dict(data)) if data is not None else None
        except ConfigErrors as errors:
            raise CaptureError(name, str(errors.errors[0]), 0) from None


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(_POLL_S)
