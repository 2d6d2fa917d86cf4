"""One pair of pods gets one verdict: on one node or on two, whatever came first, and the one that a naive judge gives."""

from dataclasses import dataclass
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.catalogue.catalogue import Catalogue
from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication, Pod
from mesh.policy.evaluation import PolicyBook
from tests.unit.mesh.policy import naive, test_agreement
from tests.unit.mesh.policy.naive import ALIASES, DOMAIN, ROOT, Attempt, Manifest
from tests.unit.mesh.policy.test_agreement import SETTINGS, change, over_the_wire, worlds
from tests.unit.ztunnel.fakes import policies_told, store_of
from ztunnel.config import NodeSettings
from ztunnel.decisions import decide
from ztunnel.discovery.policies import Policies
from ztunnel.engine.interface import Action, Direct, Direction, Flow, Local, Reject, Tunnel
from ztunnel.pods import LocalPods, PodInfo
from ztunnel.surroundings import Surroundings

V4, V6 = "10.0.0.1", "fd00::1"
families = st.sampled_from(((V4,), (V6,), (V4, V6), (V6, V4)))


@dataclass(frozen=True)
class Instance:
    """A pod; `ips` of the client are those, of the server the next ones."""

    name: str
    namespace: str
    account: str
    labels: dict[str, str]
    ips: tuple[str, ...]

    def manifest(self, node: str) -> Manifest:
        return {
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {**self.labels, "istio.io/dataplane-mode": "ambient"},
                "annotations": {"ambient.istio.io/redirection": "enabled"},
            },
            "spec": {"nodeName": node, "serviceAccountName": self.account, "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in self.ips]},
        }

    def uid(self) -> str:
        return f"Kubernetes//Pod/{self.namespace}/{self.name}"


class Node:
    """A node that knows both pods, and the policies that the control plane gives it."""

    def __init__(self, name: str, catalogue: Catalogue, *running: Instance) -> None:
        settings = NodeSettings(name, DOMAIN, "Kubernetes", "", ALIASES, ROOT)
        pods = LocalPods("Kubernetes", DOMAIN)
        for one in running:
            pods.put(pods.describe(PodInfo(one.name, one.name, one.namespace, one.account), (4, 1)))
        policies = Policies(PolicyBook(DOMAIN, ALIASES), ROOT)
        policies.apply(policies_told(*(over_the_wire(catalogue.policies[key]) for key in catalogue.policies_of_node(name))))
        self._around = Surroundings(settings, store_of(*catalogue.workloads.values()), pods, policies, lambda _: 1)

    def answer(self, flow: Flow) -> Action:
        (action,) = decide(flow, self._around).decision.choices
        return action


def let_in(action: Action) -> bool:
    assert not isinstance(action, Reject) or action.status == 401, action
    return not isinstance(action, Reject)


def bring(world: test_agreement.World, pods: tuple[tuple[Instance, str], ...], order: list[int]) -> Catalogue:
    manifests, peers, _ = world
    changes = [change(AuthorizationPolicy, one) for one in manifests] + [change(PeerAuthentication, one) for one in peers]
    changes += [change(Pod, one.manifest(node)) for one, node in pods]
    catalogue = Catalogue(SETTINGS)
    for position in sorted(range(len(changes)), key=lambda number: (order[number % len(order)], number)):
        catalogue.apply([changes[position]])
    return catalogue


def instances(name: str) -> st.SearchStrategy[Instance]:
    return st.builds(Instance, st.just(name), test_agreement.namespaces, test_agreement.accounts, test_agreement.labels, families)


def shifted(one: Instance) -> Instance:
    return Instance(one.name, one.namespace, one.account, one.labels, tuple(str(ip_address(ip) + 256) for ip in one.ips))


@given(
    worlds(),
    instances("client"),
    instances("server").map(shifted),
    st.sampled_from((80, 443, 8080)),
    st.lists(st.integers(0, 9), min_size=1),
)
@settings(max_examples=150, deadline=None)
def test_on_one_node_and_on_two(world: test_agreement.World, client: Instance, server: Instance, port: int, order: list[int]) -> None:
    manifests, peers, _ = world
    target = server.ips[0]
    same = [ip for ip in client.ips if (":" in ip) == (":" in target)]
    source = (same or client.ips)[0]
    destination = f"[{target}]:{port}" if ":" in target else f"{target}:{port}"

    one = Node("n1", bring(world, ((client, "n1"), (server, "n1")), order), client, server)
    beside = one.answer(Flow(1, Direction.OUTBOUND, "", destination, ""))
    assert isinstance(beside, Local | Reject)
    plain = one.answer(Flow(2, Direction.INBOUND_PLAINTEXT, source, destination, ""))

    apart = bring(world, ((client, "n1"), (server, "n2")), list(reversed(order)))
    tunnel = Node("n1", apart, client).answer(Flow(1, Direction.OUTBOUND, "", destination, ""))
    assert isinstance(tunnel, Tunnel)
    other = Node("n2", apart, server)
    afar = other.answer(Flow(1, Direction.INBOUND_HBONE, source, tunnel.authority, tunnel.source_identity))
    assert isinstance(afar, Direct | Reject)
    plain_afar = other.answer(Flow(1, Direction.INBOUND_PLAINTEXT, source, destination, ""))

    labels = (*server.labels.items(), ("istio.io/dataplane-mode", "ambient"))
    known = Attempt((DOMAIN, client.namespace, client.account), source, target, port, server.namespace, labels)
    unknown = Attempt(None, source, target, port, server.namespace, labels)
    opinions = [naive.judge(manifests, peers, set(), attempt).allowed for attempt in (known, unknown)]
    assert [let_in(beside), let_in(plain)] == [let_in(afar), let_in(plain_afar)] == opinions
