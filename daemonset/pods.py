"""Which pods of this node the agent has to do with. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.enrolment import REDIRECTED, REDIRECTION_ANNOTATION, enrolled
from mesh.kubernetes import Namespace, Pod


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
        announced: uids of those that peers are told to be in the mesh.
    """

    known: Mapping[str, PodInfo]
    wanted: frozenset[str]
    announced: frozenset[str] = frozenset()


def pods_of_node(pods: Iterable[Pod], namespaces: Mapping[str, Namespace], node: str) -> NodePods:
    """Chooses the pods of a node that run or may yet run, and which of them the labels ask to enrol.

    Args:
        pods: of any node.
        namespaces: by name.
    """
    here = [pod for pod in pods if pod.spec.node_name == node and pod.metadata.uid and not pod.finished]
    wanted = (pod.metadata.uid for pod in here if enrolled(pod, namespaces.get(pod.metadata.namespace)))
    said = (pod.metadata.uid for pod in here if pod.metadata.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTED)
    return NodePods({pod.metadata.uid: _info(pod) for pod in here}, frozenset(wanted), frozenset(said))


def _info(pod: Pod) -> PodInfo:
    return PodInfo(pod.metadata.uid, pod.metadata.name, pod.metadata.namespace, pod.spec.service_account_name)
