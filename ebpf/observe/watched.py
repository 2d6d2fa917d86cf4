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
        neighbours: inodes of the namespaces that the pods' packets pass through: nodes and other pods. Addresses mean the pods there,
            and may mean anybody in the other namespaces of the machine.
    """

    pods: Mapping[int, str]
    owners: Mapping[IPAddress, int]
    neighbours: frozenset[int] = frozenset()


def attribute(event: Event, watched: Watched) -> list[Event]:
    """An event as each watched pod sees it that it concerns: the pod it happened in, and for a lost packet its ends.

    A packet that was lost outside a pod is told from the pod's side, without the socket, which belongs to another namespace.
    """
    seen = [event] if event.netns in watched.pods else []
    if event.kind is not Kind.DROP or not (seen or event.netns in watched.neighbours):
        return seen
    for local, remote in ((event.local, event.remote), (event.remote, event.local)):
        owner = watched.owners.get(local.ip)
        if owner is not None and owner not in {one.netns for one in seen}:
            seen.append(replace(event, netns=owner, local=local, remote=remote, socket=0, elsewhere=True))
    return seen
