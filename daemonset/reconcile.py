"""What to do next for each pod: a pure function of what is wanted, what namespaces there are, and what is held."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

# Tells one network namespace from another: device and inode of its file.
NetnsId = tuple[int, int]


class Stage(enum.Enum):
    """How far a held pod is."""

    ENTERING = "entering"  # known to be wanted; not captured yet, or not verified
    CAPTURED = "captured"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Held:
    """A pod that the agent holds: something of it may be with ztunnel or in the kernel.

    Args:
        busy: an action on it is under way; it gets no other before that is done.
        retry: its last action failed, and it is time to try again.
    """

    netns: NetnsId
    stage: Stage
    busy: bool = False
    retry: bool = True


class Action(enum.Enum):
    """What to do for a pod."""

    ENROL = "enrol"  # hand it to ztunnel, capture it, verify
    RELEASE = "release"  # end capture without hurting connections, take it from ztunnel
    FORGET = "forget"  # its namespace is gone: take it from ztunnel, remove what was pinned


def reconcile(wanted: frozenset[str], netns: Mapping[str, NetnsId], held: Mapping[str, Held]) -> dict[str, Action]:
    """Decides the next action for each pod that needs one.

    Args:
        wanted: uids of the pods that belong in the mesh.
        netns: the namespaces that there are, by the pod's uid.
        held: what the agent holds, by uid.
    """
    actions = dict.fromkeys(sorted(wanted & netns.keys() - held.keys()), Action.ENROL)
    for uid, pod in held.items():
        action = _next(uid in wanted, netns.get(uid), pod)
        if action is not None:
            actions[uid] = action
    return actions


def _next(wanted: bool, netns: NetnsId | None, pod: Held) -> Action | None:
    if pod.busy:
        return None
    if netns != pod.netns:
        return Action.FORGET
    if not pod.retry:
        return None
    if not wanted:
        return Action.RELEASE
    return None if pod.stage is Stage.CAPTURED else Action.ENROL
