"""What the lab says of itself: facts gathered by the daemon, turned into one document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from lab.cluster import Cluster
from lab.endpoints import backends_of
from mesh.enrolment import enrolled
from mesh.identity import Identity
from mesh.kubernetes import Namespace, Pod

# Source: docs/runtime.md, TRUST_DOMAIN.
DEFAULT_TRUST_DOMAIN = "cluster.local"
# Source: docs/runtime.md, CLUSTER_ID.
DEFAULT_CLUSTER_ID = "Kubernetes"


@dataclass(frozen=True, slots=True)
class AgentPod:
    """What the agent says of a pod that it has enrolled."""

    captured: bool
    error: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Args:
    programs: whether each program of the mesh is ready, by name; empty without the mesh.
    agent_pods: by pod uid, of all nodes.
    tunnels: of each node's ztunnel, which of the workloads that it knows it reaches by tunnel, by their uids.
    policies: the status of each, as the control plane's /policies has it.
    stopped: names of programs that somebody stopped: nobody waits for them.
    """

    mesh: bool
    programs: Mapping[str, bool]
    agent_pods: Mapping[str, AgentPod]
    tunnels: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    policies: Sequence[Mapping[str, Any]] = ()
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    stopped: frozenset[str] = frozenset()


class Pending(TypedDict):
    """Something that is not yet as it is to be; `kind` is "program", "pod" or "capture of pod"."""

    kind: str
    name: str
    node: str
    reason: str


def describe(cluster: Cluster, observed: Observed) -> dict[str, Any]:
    """The document of `ambient lab status --json`. `pending` is what is not as it is to be; empty: all is settled."""
    pods = sorted(cluster.pods().items())
    missing = [name for name, ready in observed.programs.items() if not ready and name not in observed.stopped]
    programs = [Pending(kind="program", name=name, node="", reason="not ready") for name in missing]
    return {
        "mesh": observed.mesh,
        "programs": dict(observed.programs),
        "stopped": sorted(observed.stopped),
        "nodes": list(cluster.nodes),
        "pods": [_pod(cluster, name, pod, observed) for name, pod in pods],
        "services": _services(cluster),
        "policies": [dict(one) for one in observed.policies],
        "pending": programs + [pending for _, pod in pods for pending in _pending(cluster, pod, observed)],
    }


def _pod(cluster: Cluster, name: tuple[str, str], pod: Pod, observed: Observed) -> dict[str, Any]:
    body = cluster.bodies("Pod")[name]
    agent = observed.agent_pods.get(pod.metadata.uid)
    wanted = observed.mesh and wants_mesh(cluster, pod)
    return {
        "namespace": name[0],
        "name": name[1],
        "uid": pod.metadata.uid,
        "node": pod.spec.node_name,
        "ips": [str(ip) for ip in pod.addresses],
        "phase": pod.status.phase,
        "ready": pod.ready,
        "restarts": sum(one["restartCount"] for one in body["status"]["containerStatuses"]),
        "mesh": _mesh_state(wanted=wanted, agent=agent),
        "identity": str(Identity(observed.trust_domain, name[0], pod.spec.service_account_name)),
    }


def wants_mesh(cluster: Cluster, pod: Pod) -> bool:
    """Whether the labels ask for the pod to be captured, and it still runs."""
    namespace = cluster.bodies("Namespace").get((pod.metadata.namespace, pod.metadata.namespace))
    return not pod.finished and enrolled(pod, Namespace.model_validate(namespace) if namespace else None)


def _mesh_state(*, wanted: bool, agent: AgentPod | None) -> str:
    if agent is not None and agent.captured:
        return "captured" if wanted else "leaving"
    if not wanted:
        return "-"
    return f"waiting: {agent.error}" if agent is not None and agent.error else "waiting"


def _pending(cluster: Cluster, pod: Pod, observed: Observed) -> Iterator[Pending]:
    name, node = f"{pod.metadata.namespace}/{pod.metadata.name}", pod.spec.node_name
    agent = observed.agent_pods.get(pod.metadata.uid)
    captured, wanted = agent is not None and agent.captured, observed.mesh and wants_mesh(cluster, pod)
    if pod.metadata.deletion_timestamp is not None:
        yield Pending(kind="pod", name=name, node=node, reason="it is ending")
    elif not pod.finished and not pod.ready:
        yield Pending(kind="pod", name=name, node=node, reason=f"not ready, {pod.status.phase}")
    if wanted and not captured:
        yield Pending(kind="capture of pod", name=name, node=node, reason=(agent.error if agent else "") or "not captured yet")
    elif agent is not None and not wanted:
        yield Pending(kind="capture of pod", name=name, node=node, reason=agent.error or "still captured")
    elif observed.mesh:
        yield from _unknown(pod, name, observed, wanted=wanted)


def _unknown(pod: Pod, name: str, observed: Observed, *, wanted: bool) -> Iterator[Pending]:
    """Peers that have not learned yet how the pod is reached."""
    uid = f"{DEFAULT_CLUSTER_ID}//Pod/{name}"
    for node, tunnels in observed.tunnels.items():
        if tunnels.get(uid, wanted) != wanted:
            yield Pending(kind="capture of pod", name=name, node=pod.spec.node_name, reason=f"ztunnel of {node} has not heard of it")


def _services(cluster: Cluster) -> list[dict[str, Any]]:
    return [
        {
            "namespace": namespace,
            "name": name,
            "ips": [str(ip) for ip in service.addresses],
            "ports": [f"{port.port}/{port.protocol}" for port in service.spec.ports],
            "endpoints": sorted({str(one.address) for port in service.spec.ports for one in backends_of(cluster, service, port)}),
        }
        for (namespace, name), service in sorted(cluster.services().items())
    ]
