"""What one ztunnel has been told, and what to tell it next. No I/O: time comes in as an argument.

The difference between the pods that there are and those that this ztunnel acknowledged is what remains to be said; so a new ztunnel
gets everything and the snapshot's end, and one that stays gets changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemonset.pods import PodInfo

# A ztunnel that refused a pod is asked again after this; it may only have been short of something.
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A pod to tell of.

    Args:
        netns: file descriptor of its network namespace; belongs to whoever registered the pod.
        epoch: tells one registration of a uid from a later one.
    """

    info: PodInfo
    netns: int
    epoch: int


@dataclass(frozen=True, slots=True)
class AddRequest:
    pod: Enrolled


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    uid: str


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """Everything was named."""


Request = AddRequest | DeleteRequest | SnapshotRequest


@dataclass(slots=True)
class Session:
    """One connection of a ztunnel, after its hello.

    Args:
        told: epoch of each pod that was acknowledged, by uid.
        refused: pods that it answered with an error: the error, the epoch, and when to try again.
    """

    told: dict[str, int] = field(default_factory=dict)
    refused: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    snapshot_sent: bool = False

    def next_request(self, pods: Mapping[str, Enrolled], now_s: float) -> Request | None:
        """What to send next; None: all is said for now. Of a uid that was registered anew the old one is deleted first."""
        for uid, epoch in self.told.items():
            if uid not in pods or pods[uid].epoch != epoch:
                return DeleteRequest(uid)
        for uid, pod in pods.items():
            if uid not in self.told and not self._waits(uid, pod.epoch, now_s):
                return AddRequest(pod)
        return None if self.snapshot_sent else SnapshotRequest()

    def _waits(self, uid: str, epoch: int, now_s: float) -> bool:
        _, refused_epoch, again_s = self.refused.get(uid, ("", -1, 0.0))
        return refused_epoch == epoch and now_s < again_s

    def next_retry_s(self, now_s: float) -> float | None:
        """Seconds until something that was refused is to be said again; None: nothing is."""
        return min((max(0.0, again_s - now_s) for _, _, again_s in self.refused.values()), default=None)

    def acknowledge(self, request: Request, error: str, now_s: float) -> None:
        """Takes the answer to a request. A delete that was refused is done all the same: the pod is no longer ours to serve."""
        match request:
            case AddRequest(pod):
                self.refused.pop(pod.info.uid, None)
                if error:
                    self.refused[pod.info.uid] = (error, pod.epoch, now_s + RETRY_S)
                else:
                    self.told[pod.info.uid] = pod.epoch
            case DeleteRequest(uid):
                self.told.pop(uid, None)
            case SnapshotRequest():
                self.snapshot_sent = True

    def forget(self, pods: Mapping[str, Enrolled]) -> None:
        """Drops refusals of pods that are no more."""
        self.refused = {uid: refusal for uid, refusal in self.refused.items() if uid in pods}
