"""What is said of connections: a table for people's cases, and for any world that ztunnel decides the same."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange
from mesh.explain import Arrival, Explainer, Explanation, Way
from mesh.manifests import parse_manifests
from mesh.model import IPAddress, SocketAddress, TunnelProtocol, Workload
from mesh.policy.evaluation import Grounds
from mesh.settings import MeshSettings
from tests.unit.mesh.catalogue.objects import changes
from tests.unit.ztunnel.fakes import policies_of, store_of
from ztunnel.config import NodeSettings
from ztunnel.decisions import decide
from ztunnel.engine.interface import Cause, Decision, Direct, Direction, Flow, Local, Reject, Tunnel
from ztunnel.pods import LocalPods, PodInfo
from ztunnel.surroundings import Surroundings

SETTINGS = MeshSettings()
WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd00:96::1"], ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec: {hosts: [out.example], addresses: [240.0.0.1], ports: [{number: 443, name: tls}], resolution: DNS}
"""
POD = """
apiVersion: v1
kind: Pod
metadata:
  {{name: {name}, namespace: {namespace}, labels: {{app: {app}, pod: {name}}}, annotations: {{ambient.istio.io/redirection: {captured}}}}}
spec: {{nodeName: {node}, serviceAccountName: {app}, containers: [{{name: c}}]}}
status: {{phase: Running, podIPs: [{{ip: {v4}}}, {{ip: "{v6}"}}], conditions: [{{type: Ready, status: "True"}}]}}
"""
ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {0}, namespace: {1}}}
"""
PODS = (
    ("client", "shop", "n1", "client", 1),
    ("near", "shop", "n1", "web", 2),
    ("far", "shop", "n2", "web", 3),
    ("guest", "default", "n1", "client", 4),
)
POLICY = """
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, annotations: {{istio.io/dry-run: "{dry_run}"}}}}
spec: {spec}
"""


def policy(name: str, spec: str, namespace: str = "shop", *, dry_run: bool = False, kind: str = "AuthorizationPolicy") -> str:
    return POLICY.format(name=name, spec=spec, namespace=namespace, kind=kind, dry_run=str(dry_run).lower())


def catalogue_of(*policies: str) -> Catalogue:
    pods = (
        POD.format(
            name=name, namespace=namespace, node=node, app=app, v4=f"10.0.0.{n}", v6=f"fd00::{n}",
            captured="enabled" if namespace == "shop" else "disabled",
        )
        for name, namespace, node, app, n in PODS
    )  # fmt: skip
    accounts = (ACCOUNT.format(*pair) for pair in (("client", "shop"), ("web", "shop"), ("client", "default")))
    catalogue = Catalogue(SETTINGS)
    objects = parse_manifests({"f.yaml": "---".join((WORLD, *accounts, *pods, *policies))}).objects
    catalogue.apply(ObjectChange(key, value) for key, value in objects.items())
    return catalogue


def explained(source: str, target: str, port: int, *policies: str) -> Explanation:
    catalogue = catalogue_of(*policies)
    return Explainer(catalogue, SETTINGS).explain(catalogue.workloads[f"Kubernetes//Pod/{source}"], SocketAddress(ip_address(target), port))


def ways(explanation: Explanation) -> dict[str, Way]:
    return {arrival.workload.name if arrival.workload else "-": arrival.way for arrival in explanation.arrivals}


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("shop/client", "10.96.0.1", 80, {"near": Way.BESIDE, "far": Way.TUNNEL}),
        ("shop/client", "fd00:96::1", 80, {"near": Way.BESIDE, "far": Way.TUNNEL}),
        ("shop/client", "10.0.0.3", 9, {"far": Way.TUNNEL}),
        ("shop/client", "10.0.0.4", 9, {"guest": Way.PLAIN}),
        ("shop/client", "10.0.0.1", 9, {"client": Way.INSIDE}),
        ("shop/client", "192.0.2.1", 9, {"-": Way.PLAIN}),
        ("default/guest", "10.96.0.1", 80, {"near": Way.PLAIN, "far": Way.PLAIN}),
        ("default/guest", "240.0.0.1", 443, {"-": Way.PLAIN}),
    ],
)
def test_ways(source: str, target: str, port: int, expected: dict[str, Way]) -> None:
    explanation = explained(source, target, port)
    assert (ways(explanation), explanation.allowed, explanation.failure) == (expected, True, "")


def test_the_identity_is_the_clients_and_nothing_of_a_client_outside() -> None:
    assert {str(one.identity) for one in explained("shop/client", "10.96.0.1", 80).arrivals} == {"spiffe://cluster.local/ns/shop/sa/client"}
    assert {one.identity for one in explained("default/guest", "10.96.0.1", 80).arrivals} == {None}


@pytest.mark.parametrize(
    ("port", "words"), [(81, "service shop/web.shop.svc.cluster.local has no port 81"), (443, "has no ready endpoint for port 443")]
)
def test_what_leads_nowhere_says_why(port: int, words: str) -> None:
    explanation = explained("shop/client", "10.96.0.1" if port == 81 else "240.0.0.1", port)
    assert words in explanation.failure
    assert (explanation.arrivals, explanation.allowed) == ((), False)


def test_hostnames_are_asked_of_whoever_asks() -> None:
    catalogue = catalogue_of()
    client, target = catalogue.workloads["Kubernetes//Pod/shop/client"], SocketAddress(ip_address("240.0.0.1"), 443)
    explanation = Explainer(catalogue, SETTINGS).explain(
        client, target, lambda name: [ip_address("192.0.2.7")] if name == "out.example" else []
    )
    assert [str(one.address) for one in explanation.arrivals] == ["192.0.2.7:443"]


def test_a_refusal_names_the_policy_and_what_the_others_say() -> None:
    no = policy("never", "{action: DENY, selector: {matchLabels: {app: web}}, rules: [{from: [{source: {principals: ['*/sa/client']}}]}]}")
    yes = policy("a-yes", "{action: ALLOW, rules: [{from: [{source: {namespaces: [other]}}]}]}")
    elsewhere = policy("elsewhere", "{action: DENY, rules: [{}]}", namespace="default")
    (arrival,) = explained("shop/client", "10.0.0.3", 8080, no, yes, elsewhere).arrivals
    assert arrival.ruling is not None
    assert (arrival.allowed, arrival.ruling.policy, arrival.ruling.reason) == (False, "shop/never", Grounds.DENIED)
    assert [(one.policy.key, one.matches) for one in arrival.applying] == [("shop/never", True), ("shop/a-yes", False)]


def test_strict_refuses_plaintext_alone() -> None:
    strict = policy("strict", "{mtls: {mode: STRICT}}", namespace="istio-system", kind="PeerAuthentication")
    assert explained("shop/client", "10.96.0.1", 80, strict).allowed
    explanation = explained("default/guest", "10.96.0.1", 80, strict)
    assert {one.ruling.policy for one in explanation.arrivals if one.ruling} == {"istio-system/mutual_tls_strict"}
    assert not explanation.allowed


def test_dry_run_is_told_and_lets_in() -> None:
    (arrival,) = explained("shop/client", "10.0.0.3", 80, policy("later", "{action: DENY, rules: [{}]}", dry_run=True)).arrivals
    assert arrival.ruling is not None
    assert (arrival.allowed, arrival.ruling.would_deny) == (True, ("shop/later",))
    assert [(one.policy.dry_run, one.matches) for one in arrival.applying] == [(True, True)]


def test_the_clients_address_is_of_the_endpoints_family() -> None:
    others = policy("never", "{action: DENY, rules: [{from: [{source: {notIpBlocks: [10.0.0.1]}}]}]}")
    assert explained("shop/client", "10.96.0.1", 80, others).allowed
    assert not explained("shop/client", "fd00:96::1", 80, others).allowed


def test_one_endpoint_that_refuses_is_enough_to_say_no() -> None:
    strict = policy("near", "{selector: {matchLabels: {pod: near}}, mtls: {mode: STRICT}}", kind="PeerAuthentication")
    explanation = explained("default/guest", "10.96.0.1", 80, strict)
    assert {one.workload.name: one.allowed for one in explanation.arrivals if one.workload} == {"near": False, "far": True}
    assert not explanation.allowed


def test_a_bare_address_in_a_list_is_reached_in_plain_even_where_it_is_a_pods() -> None:
    listed = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: listed, namespace: shop}
spec: {hosts: [x.example], addresses: [240.0.0.2], ports: [{number: 80, name: a}], resolution: STATIC, endpoints: [{address: 10.0.0.3}]}
"""
    strict = policy("strict", "{mtls: {mode: STRICT}}", kind="PeerAuthentication")
    for policies, allowed in (((listed,), True), ((listed, strict), False)):
        explanation = explained("shop/client", "240.0.0.2", 80, *policies)
        (arrival,) = explanation.arrivals
        assert (ways(explanation), arrival.identity, arrival.allowed) == ({"far": Way.PLAIN}, None, allowed)


class Nodes:
    """A ztunnel's surroundings for each node, which knows the whole catalogue and serves the captured pods of the node."""

    def __init__(self, catalogue: Catalogue) -> None:
        store, policies = store_of(*catalogue.services.values(), *catalogue.workloads.values()), policies_of(*catalogue.policies.values())
        self.pods = {node: LocalPods("Kubernetes", "cluster.local") for node in ("n1", "n2")}
        self.around = {
            node: Surroundings(NodeSettings(node, "cluster.local", "Kubernetes", ""), store, pods, policies, lambda _: 1)
            for node, pods in self.pods.items()
        }
        for one in captured_pods(catalogue):
            pods = self.pods[one.node]
            pods.put(pods.describe(PodInfo(one.uid, one.name, one.namespace, one.service_account), (1, 1)))

    def outbound(self, source: Workload, target: SocketAddress) -> Decision:
        pod = self.pods[source.node].by_workload(source.uid)
        assert pod is not None
        return decide(Flow(pod.number, Direction.OUTBOUND, "", str(target), ""), self.around[source.node]).decision

    def inbound(self, workload: Workload, arrival: Arrival, source: IPAddress) -> bool:
        """Whether the ztunnel of a pod lets in what arrives by tunnel, or in plain."""
        pod = self.pods[workload.node].by_workload(workload.uid)
        assert pod is not None
        direction = Direction.INBOUND_HBONE if arrival.way is Way.TUNNEL else Direction.INBOUND_PLAINTEXT
        flow = Flow(pod.number, direction, str(source), str(arrival.address), str(arrival.identity or ""))
        (action,) = decide(flow, self.around[workload.node]).decision.choices
        return not (isinstance(action, Reject) and action.cause is Cause.DENIED)


def captured_pods(catalogue: Catalogue) -> Iterator[Workload]:
    for one in catalogue.workloads.values():
        if "//Pod/" in one.uid and one.tunnel_protocol is TunnelProtocol.HBONE and one.addresses:
            yield one


def said(explanation: Explanation) -> set[tuple[str, str]]:
    """What the client's ztunnel is expected to do."""
    if explanation.failure:
        return {("nowhere", explanation.failure)}
    here = {Way.TUNNEL: "tunnel", Way.PLAIN: "plain"}
    return {(here.get(one.way) or ("beside" if one.allowed else "refused"), str(one.address)) for one in explanation.arrivals}


def done(decision: Decision) -> Iterator[tuple[str, str]]:
    for action in decision.choices:
        match action:
            case Tunnel():
                yield "tunnel", action.authority
            case Local() | Direct():
                yield (
                    "beside" if isinstance(action, Local) else "plain",
                    str(SocketAddress(ip_address(action.next_hop[0]), action.next_hop[1])),
                )
            case Reject(cause=Cause.DENIED):
                yield "refused", action.detail.rpartition("to ")[2]
            case Reject():
                yield "nowhere", action.detail


def seen_from(source: Workload, arrival: Arrival) -> IPAddress:
    """The source address that a pod's connection to an endpoint has."""
    return next((ip for ip in source.addresses if ip.version == arrival.address.ip.version), source.addresses[0])


CLIENTS = "[{from: [{source: {principals: [cluster.local/ns/shop/sa/client]}}]}]"
ANY_POLICY = st.sampled_from(
    [
        policy(f"{kind[:4].lower()}-{number}", spec, namespace, dry_run=dry_run, kind=kind)
        for number, (kind, namespace, spec) in enumerate(
            (
                (
                    "AuthorizationPolicy",
                    "shop",
                    "{action: DENY, selector: {matchLabels: {app: web}}, rules: " + CLIENTS + "}",
                ),
                (
                    "AuthorizationPolicy",
                    "shop",
                    "{action: ALLOW, selector: {matchLabels: {pod: far}}, rules: " + CLIENTS + "}",
                ),
                ("AuthorizationPolicy", "shop", "{action: ALLOW, rules: [{from: [{source: {namespaces: [default]}}]}]}"),
                ("AuthorizationPolicy", "istio-system", "{action: DENY, rules: [{to: [{operation: {ports: ['8080']}}]}]}"),
                ("AuthorizationPolicy", "shop", "{action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.1, 'fd00::4']}}]}]}"),
                ("PeerAuthentication", "shop", "{mtls: {mode: STRICT}}"),
                ("PeerAuthentication", "shop", "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: STRICT}}}"),
            )
        )
        for dry_run in ((False, True) if kind == "AuthorizationPolicy" else (False,))
    ]
)


@given(
    st.lists(ANY_POLICY, max_size=3, unique_by=lambda text: text.split("name: ")[1].split(",")[0]),
    st.lists(changes(), max_size=8),
    st.sampled_from(["10.96.0.1", "fd00:96::1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::3", "10.0.0.9"]),
    st.sampled_from([80, 443, 8080]),
)
def test_ztunnel_decides_what_is_said(policies: list[str], history: list[ObjectChange], ip: str, port: int) -> None:
    catalogue = catalogue_of(*policies)
    catalogue.apply(history)
    nodes, explainer, target = Nodes(catalogue), Explainer(catalogue, SETTINGS), SocketAddress(ip_address(ip), port)
    captured = list(captured_pods(catalogue))
    for source in captured:
        explanation = explainer.explain(source, target)
        if target.ip not in source.addresses:
            assert set(done(nodes.outbound(source, target))) == said(explanation)
        for arrival in explanation.arrivals:
            pods = [pod for pod in captured if arrival.address.ip in pod.addresses]
            if len(pods) == 1 and arrival.way in (Way.TUNNEL, Way.PLAIN) and arrival.workload:
                assert nodes.inbound(pods[0], arrival, seen_from(source, arrival)) == arrival.allowed
