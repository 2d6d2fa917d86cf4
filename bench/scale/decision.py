"""How long ztunnel takes from a flow that it has not seen to what is done with it, holding all policies of a large cluster."""

import statistics
import time

from bench.scale.cluster import SERVICES, Cluster
from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange
from mesh.manifest_checks import key_of
from mesh.manifests import Reading
from mesh.model import Workload
from mesh.policy.evaluation import PolicyBook
from mesh.settings import MeshSettings
from ztunnel.config import NodeSettings
from ztunnel.decisions import decide
from ztunnel.discovery.policies import Policies, PolicyUpdate, PolicyUpsert
from ztunnel.discovery.store import Store, Update, Upsert
from ztunnel.engine.interface import Direction, Flow
from ztunnel.pods import LocalPods, PodInfo
from ztunnel.surroundings import Surroundings

# All policies of the cluster, though a node is only told its own; workloads of a few nodes, as on demand.
CLUSTER = Cluster(workloads=1_000, services=500, policies=10_000)
# Some hundreds of each of the three kinds.
FLOWS = 2_000


def decision_us() -> float:
    """Returns the median over flows of three kinds: out to a service, in by HBONE, in as plaintext. Each is decided for the first time."""
    catalogue = _catalogue()
    node = NodeSettings("node-0", "cluster.local", "Kubernetes", "")
    local = [one for one in catalogue.workloads.values() if one.node == node.name]
    peers = [one for one in catalogue.workloads.values() if one.node != node.name]
    pods = LocalPods(node.cluster_id, node.trust_domain)
    for one in local:
        pods.put(pods.describe(PodInfo(one.name, one.name, one.namespace, one.service_account), (4, 1)))
    around = Surroundings(node, _store(catalogue), pods, _policies(catalogue, node), lambda _: 1)
    flows = [_flow(turn, pods, local, peers) for turn in range(FLOWS)]
    return statistics.median(_timed(flow, around) for flow in flows) * 1e6


def _store(catalogue: Catalogue) -> Store:
    store = Store()
    workloads = [Upsert(name, "1", one) for name, one in catalogue.workloads.items()]
    services = [Upsert(name, "1", one) for name, one in catalogue.services.items()]
    store.apply(Update((*workloads, *services), ()))
    return store


def _policies(catalogue: Catalogue, node: NodeSettings) -> Policies:
    policies = Policies(PolicyBook(node.trust_domain), node.root_namespace)
    policies.apply(PolicyUpdate(tuple(PolicyUpsert("1", policy) for policy in catalogue.policies.values()), (), {}))
    return policies


def _catalogue() -> Catalogue:
    reading = Reading()
    for number in range(CLUSTER.namespaces):
        for one in CLUSTER.objects(number):
            reading.read(f"{number}.", one)
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(ObjectChange(key_of(placed.value), placed.value) for placed in reading.placed)
    return catalogue


def _flow(turn: int, pods: LocalPods, local: list[Workload], peers: list[Workload]) -> Flow:
    workload, peer = local[turn % len(local)], peers[turn % len(peers)]
    pod = pods.by_workload(workload.uid)
    assert pod is not None
    source, own = str(peer.addresses[0]), f"{workload.addresses[0]}:8080"
    if turn % 3 == 0:
        return Flow(pod.number, Direction.OUTBOUND, "", f"{SERVICES + turn % CLUSTER.services}:80", "")
    if turn % 3 == 1:
        return Flow(pod.number, Direction.INBOUND_HBONE, source, own, str(peer.identity))
    return Flow(pod.number, Direction.INBOUND_PLAINTEXT, source, own, "")


def _timed(flow: Flow, around: Surroundings) -> float:
    began = time.perf_counter()
    decide(flow, around)
    return time.perf_counter() - began
