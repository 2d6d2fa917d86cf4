"""Which pods of this node the agent has to do with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.enrolment import enrolled
from mesh.kubernetes import Pod
from mesh.manifests import Manifests


@dataclass(frozen=True, slots=True)
class PodInfo:
    """A pod as ztunnel is told of it."""

    uid: str
    name: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NodePods:
    """The running pods of the node by uid.

    Args:
        known: all of them.
        wanted: uids of those that belong in the mesh.
    """

    known: Mapping[str, PodInfo]
    wanted: frozenset[str]


def pods_of_node(manifests: Manifests, node: str) -> NodePods:
    """Chooses the pods of a node that run or may yet run, and which of them the labels ask to enrol."""
    here = [pod for pod in manifests.pods.values() if pod.spec.node_name == node and pod.metadata.uid and not pod.finished]
    wanted = (pod.metadata.uid for pod in here if enrolled(pod, manifests.namespaces.get(pod.metadata.namespace)))
    return NodePods({pod.metadata.uid: _info(pod) for pod in here}, frozenset(wanted))


def _info(pod: Pod) -> PodInfo:
    return PodInfo(pod.metadata.uid, pod.metadata.name, pod.metadata.namespace, pod.spec.service_account_name)
