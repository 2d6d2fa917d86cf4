"""From manifests to the snapshot that nodes are told of."""

from mesh.manifests import parse_manifests
from mesh.model import PortMapping, Snapshot, TunnelProtocol
from mesh.snapshot import build_snapshot

WEB = "shop/web.shop.svc.example"
AMBIENT = "istio.io/dataplane-mode: ambient"


def build(*documents: str, previous: Snapshot | None = None) -> Snapshot:
    text = "".join(f"---\napiVersion: v1\n{document}\n" for document in documents)
    return build_snapshot(parse_manifests({"f.yaml": text}), previous, "td", "c1", "example")


def namespace(labels: str = "") -> str:
    return f"kind: Namespace\nmetadata: {{name: shop, labels: {{{labels}}}}}"


def pod(name: str, labels: str = "app: web", spec: str = "nodeName: n", status: str = "", metadata: str = "", ready: bool = True) -> str:
    return f"""kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{{labels}}}{metadata}}}
spec: {{{spec}, containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}, {{name: dns, containerPort: 53, protocol: UDP}}]}}]}}
status: {{phase: Running, conditions: [{{type: Ready, status: "{ready}"}}]{status}}}"""


def service(ports: str = "{port: 80, targetPort: http}", more: str = "selector: {app: web}, clusterIP: 10.96.0.1") -> str:
    return f"kind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{ports}], {more}}}"


def test_a_pod_becomes_a_workload() -> None:
    snapshot = build(namespace(), pod("a", status=", podIP: 10.0.0.1"))
    [workload] = snapshot.workloads.values()
    assert (workload.uid, workload.node, workload.cluster, str(workload.identity)) == (
        "c1//Pod/shop/a",
        "n",
        "c1",
        "spiffe://td/ns/shop/sa/default",
    )
    assert (workload.healthy, workload.tunnel_protocol, list(map(str, workload.addresses))) == (True, TunnelProtocol.NONE, ["10.0.0.1"])
    assert (workload.workload_name, workload.canonical_name, workload.canonical_revision) == ("a", "web", "latest")


CAPTURED = ", annotations: {ambient.istio.io/redirection: enabled}"


def tunnelled(*pods: str) -> list[bool]:
    snapshot = build(namespace(AMBIENT), *pods)
    return [workload.tunnel_protocol is TunnelProtocol.HBONE for workload in snapshot.workloads.values()]


def test_a_pod_that_is_to_be_captured_and_is_can_be_tunnelled_to() -> None:
    assert tunnelled(
        pod("a", metadata=CAPTURED),
        pod("b", metadata=CAPTURED, labels="istio.io/dataplane-mode: none"),
        pod("c", metadata=CAPTURED, spec="nodeName: n, hostNetwork: true"),
        pod("d"),
        pod("e", metadata=CAPTURED.replace("enabled", "partial")),
    ) == [True, False, False, False, False]


def test_pods_that_are_not_scheduled_or_have_finished_are_left_out() -> None:
    finished = pod("b").replace("Running", "Failed")
    assert build(namespace(), pod("a", spec="nodeName: ''"), finished).workloads == {}


def test_endpoints_are_what_the_selector_matches() -> None:
    documents = (
        namespace(),
        pod("a"),
        pod("b", ready=False),
        pod("c", labels="app: other"),
        pod("d", labels="app: web, x: y"),
        pod("e", metadata=", deletionTimestamp: now"),
    )
    snapshot = build(*documents, service())
    backing = {one.name: (one.services[WEB], one.healthy) for one in snapshot.workloads.values() if WEB in one.services}
    ports = (PortMapping(80, 8080),)
    assert backing == {"a": (ports, True), "b": (ports, False), "d": (ports, True), "e": (ports, False)}


def test_ports_by_number_by_name_and_not_at_all() -> None:
    ports = "{port: 80, targetPort: http}, {port: 81, targetPort: 9}, {port: 82}, {port: 83, targetPort: nope}, {port: 53, protocol: UDP}"
    snapshot = build(namespace(), pod("a"), service(ports))
    assert snapshot.workloads["c1//Pod/shop/a"].services[WEB] == (PortMapping(80, 8080), PortMapping(81, 9), PortMapping(82, 82))
    assert snapshot.services[WEB].ports == (PortMapping(80, 0), PortMapping(81, 9), PortMapping(82, 82), PortMapping(83, 0))


def test_services_without_selector_back_nothing_and_external_names_are_none() -> None:
    assert build(namespace(), pod("a"), service(more="clusterIP: None")).workloads["c1//Pod/shop/a"].services == {}
    headless = build(namespace(), service(more="clusterIP: None")).services[WEB]
    assert (headless.hostname, headless.addresses) == ("web.shop.svc.example", ())
    assert build(namespace(), service(more="type: ExternalName")).services == {}


def test_a_deployment_is_named_rather_than_its_replica_set() -> None:
    owner = ", ownerReferences: [{kind: ReplicaSet, name: web-abc12, controller: true}]"
    snapshot = build(
        namespace(), pod("a", labels="pod-template-hash: abc12", metadata=owner), pod("b", metadata=owner.replace("ReplicaSet", "Job"))
    )
    assert [one.workload_name for one in snapshot.workloads.values()] == ["web", "web-abc12"]


def test_telemetry_labels_in_their_order() -> None:
    labels = "app: web, app.kubernetes.io/name: shop-web, version: v1, service.istio.io/canonical-revision: v2"
    [workload] = build(namespace(), pod("a", labels=labels)).workloads.values()
    assert (workload.canonical_name, workload.canonical_revision) == ("shop-web", "v2")


def test_the_generation_grows_only_when_something_changed() -> None:
    first = build(namespace(), pod("a"), service())
    assert first.generation == 1
    assert build(namespace("a: b"), pod("a", metadata=", annotations: {x: y}"), service(), previous=first) is first
    second = build(namespace(AMBIENT), pod("a", metadata=CAPTURED), service(), previous=first)
    assert second.generation == 2
    assert build(namespace(AMBIENT), pod("a", metadata=CAPTURED), previous=second).generation == 3
