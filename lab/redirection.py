"""Writes on pods that they are captured, as their node's agent does where there is an API server to write it to."""

from collections.abc import Mapping

from lab.cluster import Cluster
from lab.resolve import with_annotation
from lab.status import AgentPod, wants_mesh
from mesh.enrolment import REDIRECTED, REDIRECTION_ANNOTATION
from mesh.kubernetes import Pod


def announce(cluster: Cluster, agent_pods: Mapping[str, AgentPod]) -> Cluster:
    """Brings the annotations of all pods up to what the agents say; the same cluster when nothing is to be changed.

    A pod of which no agent says anything keeps what it has: its agent may be starting anew, and capture outlives it.
    Args:
        agent_pods: by pod uid.
    """
    for (namespace, name), pod in cluster.pods().items():
        value = _annotation(cluster, pod, agent_pods.get(pod.metadata.uid))
        if pod.metadata.annotations.get(REDIRECTION_ANNOTATION) != value:
            key = ("Pod", namespace, name)
            cluster = cluster.resolved(key, with_annotation(cluster.entries[key].resolved, REDIRECTION_ANNOTATION, value))
    return cluster


def _annotation(cluster: Cluster, pod: Pod, agent: AgentPod | None) -> str | None:
    if not wants_mesh(cluster, pod):
        return None
    if agent is None:
        return pod.metadata.annotations.get(REDIRECTION_ANNOTATION)
    return REDIRECTED if agent.captured else None


def unannounced(cluster: Cluster) -> bool:
    """Whether an annotation has still to follow a label."""
    return any(wants_mesh(cluster, pod) != (REDIRECTION_ANNOTATION in pod.metadata.annotations) for pod in cluster.pods().values())
