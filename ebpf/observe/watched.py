"""Whose event it is: from the namespaces and addresses of the watched pods."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ebpf.observe.events import Event, Kind
from mesh.model import IPAddress


@dataclass(frozen=True, slots=True)
class Watched:
    """The pods that are watched.

    Args:
        pods: name of the pod ("namespace/name") by the inode of its network namespace.
        owners: inode of the pod's namespace by each of its addresses.
    """

    pods: Mapping[int, str]
    owners: Mapping[IPAddress, int]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(map(str, self.owners))


def attribute(event: Event, watched: Watched) -> list[Event]:
    """An event as each watched pod sees it that it concerns: the pod it happened in, and for a lost packet its ends.

    A packet that was lost outside a pod is told from the pod's side, without the socket, which belongs to another namespace.
    """
    seen = [event] if event.netns in watched.pods else []
    if event.kind is not Kind.DROP:
        return seen
    for local, remote in ((event.local, event.remote), (event.remote, event.local)):
        owner = watched.owners.get(local.ip)
        if owner is not None and owner not in {one.netns for one in seen}:
            seen.append(replace(event, netns=owner, local=local, remote=remote, socket=0, elsewhere=True))
    return seen
