"""What can back a service: pods, machines and single addresses, each as its own object says it."""

import enum
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.catalogue.index import LabelIndex
from mesh.enrolment import MODE_LABEL
from mesh.model import IPAddress, Workload

K = TypeVar("K", bound=Hashable)


class Nature(enum.Enum):
    """POD: ztunnel of its node has it and may ask for its identity. MACHINE: a WorkloadEntry. ADDRESS: no selector selects it."""

    POD = "pod"
    MACHINE = "machine"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Instance:
    """A workload before services, policies and its node's place are added.

    Args:
        workload: NONE as its tunnel protocol; its locality is what the object itself says.
        labels: what selectors see; empty for an ADDRESS.
        named_ports: numbers of the ports that have names.
        redirected: captured, as its node's agent says.
    """

    workload: Workload
    nature: Nature
    labels: Mapping[str, str] = field(default_factory=dict)
    named_ports: Mapping[str, int] = field(default_factory=dict)
    redirected: bool = False


@dataclass(slots=True)
class InstanceBook:
    """The instances, by uid, by labels, by namespace and by node.

    Args:
        pod_addresses: how many pods have each address; those on their node's network have the node's.
        machines: the uids of the machines that say each address.
    """

    by_uid: dict[str, Instance] = field(default_factory=dict)
    labels: LabelIndex[str] = field(default_factory=LabelIndex)
    by_namespace: dict[str, set[str]] = field(default_factory=dict)
    by_node: dict[str, set[str]] = field(default_factory=dict)
    pod_addresses: Counter[IPAddress] = field(default_factory=Counter)
    machines: dict[IPAddress, set[str]] = field(default_factory=dict)

    def put(self, uid: str, instance: Instance | None) -> bool:
        """Takes in an instance, or forgets it; tells whether that made a difference."""
        known = self.by_uid.get(uid)
        if known == instance:
            return False
        self._count(instance, 1)
        self._count(known, -1)
        for ip in _machine_addresses(known):
            discard(self.machines, ip, uid)
        for ip in _machine_addresses(instance):
            self.machines.setdefault(ip, set()).add(uid)
        if known is not None and not (instance is not None and _filed_alike(known, instance)):
            self._unfile(uid, known)
            known = None
        if instance is None:
            del self.by_uid[uid]
        else:
            if known is None:
                self._file(uid, instance)
            self.by_uid[uid] = instance
        return True

    def inheriting_mode(self, namespace: str) -> Iterable[str]:
        """Returns those of a namespace that have no word of their own on whether they are in the mesh."""
        return (uid for uid in self.by_namespace.get(namespace, ()) if MODE_LABEL not in self.by_uid[uid].labels)

    def _count(self, instance: Instance | None, number: int) -> None:
        for ip in instance.workload.addresses if instance is not None and instance.nature is Nature.POD else ():
            self.pod_addresses[ip] += number
            if not self.pod_addresses[ip]:
                del self.pod_addresses[ip]

    def _file(self, uid: str, instance: Instance) -> None:
        workload = instance.workload
        self.labels.add(uid, workload.namespace, instance.labels)
        self.by_namespace.setdefault(workload.namespace, set()).add(uid)
        if workload.node:
            self.by_node.setdefault(workload.node, set()).add(uid)

    def _unfile(self, uid: str, instance: Instance) -> None:
        workload = instance.workload
        self.labels.remove(uid, workload.namespace, instance.labels)
        discard(self.by_namespace, workload.namespace, uid)
        if workload.node:
            discard(self.by_node, workload.node, uid)


def _filed_alike(one: Instance, other: Instance) -> bool:
    return one.labels == other.labels and one.workload.namespace == other.workload.namespace and one.workload.node == other.workload.node


def _machine_addresses(instance: Instance | None) -> tuple[IPAddress, ...]:
    return instance.workload.addresses if instance is not None and instance.nature is Nature.MACHINE else ()


def discard(book: dict[K, set[str]], place: K, uid: str) -> None:
    """Removes what is there, and the set with the last of it."""
    book[place].remove(uid)
    if not book[place]:
        del book[place]
