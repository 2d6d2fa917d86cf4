"""Events of pods, as `kubectl describe pod` and `kubectl get events` show them."""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from daemonset.news import Kind, PodNews
from mesh.errors import MeshError
from runtime.kubernetes import Api, Resource

EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
CONTROLLER = "ambient.io/agent"
# The API server takes notes of up to a kilobyte. Source: Kubernetes, API reference, Event v1 events.k8s.io, field note.
_MAX_NOTE = 1000
# A node has some hundred pods at most. What comes beyond in one burst is in the log.
MAX_WAITING = 200
# So that a thousand nodes with a broken configuration do not fill the API server with what they say of it.
MIN_INTERVAL_S = 0.2
_log = structlog.get_logger(scope="events")

_WORDS = {
    Kind.CAPTURED: ("Normal", "MeshCaptured", "Capture", "TCP of the pod goes through the mesh"),
    Kind.RELEASED: ("Normal", "MeshReleased", "Release", "the pod has left the mesh"),
    Kind.FAILED: ("Warning", "MeshCaptureFailed", "Capture", ""),
}


def event_of(news: PodNews, node: str, instance: str, now: dt.datetime) -> dict[str, Any]:
    """The event, as JSON.

    Args:
        instance: of the agent; the name of its pod.
        now: with a time zone.
    Source: Kubernetes, API reference, Event v1 events.k8s.io.
    """
    kind, reason, action, words = _WORDS[news.kind]
    pod = news.pod
    return {
        "metadata": {"generateName": f"{pod.name[:200]}.ambient-", "namespace": pod.namespace},
        "eventTime": now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "type": kind,
        "reason": reason,
        "action": action,
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        "related": {"apiVersion": "v1", "kind": "Node", "name": node},
        "note": (news.detail or words)[:_MAX_NOTE],
    }


class EventWriter:
    """Writes events in the background, one after the other; what cannot be written is logged and given up: the log has it all."""

    def __init__(self, api: Api, node: str, instance: str, now: Callable[[], dt.datetime]) -> None:
        self._api, self._node, self._instance, self._now = api, node, instance, now
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._wake = asyncio.Event()

    def tell(self, news: PodNews) -> None:
        self._waiting.append(event_of(news, self._node, self._instance, self._now()))
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                event = self._waiting.popleft()
                try:
                    await self._api.create(EVENTS, event["metadata"]["namespace"], event)
                except MeshError as error:
                    _log.warning("event_not_written", reason=event["reason"], pod=event["regarding"]["name"], error=str(error))
                await asyncio.sleep(MIN_INTERVAL_S)
