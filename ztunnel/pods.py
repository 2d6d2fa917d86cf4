"""The pods of this node, as the agent named them: numbers for the engine, identities for the certificates."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesh.identity import Identity
from mesh.model import IPAddress

# (device, inode) of a network namespace: the same as long as somebody holds it open, and the engine does.
NamespaceId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PodInfo:
    """What the agent says of a pod.

    Args:
        uid: the pod's metadata.uid.
    """

    uid: str
    name: str
    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class LocalPod:
    """A pod that ztunnel serves.

    Args:
        number: the engine's name for it; never used twice.
        workload_uid: its name in xDS.
        addresses: that it comes from, as its namespace has them.
    """

    number: int
    info: PodInfo
    netns: NamespaceId
    identity: Identity
    workload_uid: str
    addresses: tuple[IPAddress, ...] = ()


class LocalPods:
    """Who is served now. Keeps books only: whoever changes them tells the engine.

    Args:
        cluster_id: first part of a workload's uid.
    """

    def __init__(self, cluster_id: str, trust_domain: str) -> None:
        self._cluster_id = cluster_id
        self._trust_domain = trust_domain
        self._next = 1
        self._by_uid: dict[str, LocalPod] = {}
        self._by_number: dict[int, LocalPod] = {}
        self._by_workload: dict[str, LocalPod] = {}

    def __iter__(self) -> Iterator[LocalPod]:
        return iter(self._by_uid.values())

    def __len__(self) -> int:
        return len(self._by_uid)

    def by_uid(self, uid: str) -> LocalPod | None:
        return self._by_uid.get(uid)

    def by_number(self, number: int) -> LocalPod | None:
        return self._by_number.get(number)

    def by_workload(self, workload_uid: str) -> LocalPod | None:
        return self._by_workload.get(workload_uid)

    def identities(self) -> frozenset[Identity]:
        return frozenset(pod.identity for pod in self._by_uid.values())

    def absent_from(self, uids: Iterable[str]) -> tuple[LocalPod, ...]:
        """Returns the pods that are not among `uids`."""
        named = frozenset(uids)
        return tuple(pod for uid, pod in self._by_uid.items() if uid not in named)

    def describe(self, info: PodInfo, netns: NamespaceId, addresses: tuple[IPAddress, ...] = ()) -> LocalPod:
        """Gives a pod its number, identity and workload uid, and does not keep it yet."""
        number, self._next = self._next, self._next + 1
        identity = Identity(self._trust_domain, info.namespace, info.service_account)
        return LocalPod(number, info, netns, identity, f"{self._cluster_id}//Pod/{info.namespace}/{info.name}", addresses)

    def put(self, pod: LocalPod) -> None:
        """Keeps a pod. The one before of the same uid must have been removed."""
        assert pod.info.uid not in self._by_uid
        self._by_uid[pod.info.uid] = pod
        self._by_number[pod.number] = pod
        # A StatefulSet's next pod may come before the last of the same name has gone; the newer one holds the name.
        self._by_workload[pod.workload_uid] = pod

    def remove(self, pod: LocalPod) -> None:
        del self._by_uid[pod.info.uid]
        del self._by_number[pod.number]
        if self._by_workload.get(pod.workload_uid) is pod:
            del self._by_workload[pod.workload_uid]
