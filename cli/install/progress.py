"""How far a rollout is: one line a workload, from its status. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """Args:
    wanted, ready, updated: pods.
    seen: whether its controller has read the newest version of it.
    """

    name: str
    wanted: int
    ready: int
    updated: int
    seen: bool

    @property
    def done(self) -> bool:
        return self.seen and self.ready >= self.wanted and self.updated >= self.wanted

    def __str__(self) -> str:
        newest = "" if self.updated >= self.wanted else f", {self.updated} of the new version"
        return f"{self.name}: {self.ready} of {self.wanted} ready{newest}"


def progress_of(name: str, workload: Mapping[str, Any] | None) -> Progress:
    """Reads the status of a DaemonSet or Deployment; None: it is not there yet."""
    if workload is None:
        return Progress(name, 1, 0, 0, seen=False)
    status = workload.get("status", {})
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    if workload.get("kind") == "DaemonSet":
        wanted, ready, updated = (status.get(key, 0) for key in ("desiredNumberScheduled", "numberReady", "updatedNumberScheduled"))
    else:
        wanted = workload["spec"].get("replicas", 1)
        # Pods of the old version that are still there count as ready, and must go.
        ready, updated = status.get("readyReplicas", 0) - status.get("terminatingReplicas", 0), status.get("updatedReplicas", 0)
        seen = seen and status.get("replicas", 0) <= wanted
    return Progress(name, wanted, ready, updated, seen)
