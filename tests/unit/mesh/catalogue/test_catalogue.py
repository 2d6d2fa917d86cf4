"""From manifests to workloads and services, change by change."""

from collections.abc import Mapping

import pytest

from mesh.catalogue.books import Books
from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import Delta, ObjectKey
from mesh.catalogue.instances import Instance
from mesh.catalogue.rendering import render
from mesh.identity import Identity
from mesh.kubernetes import Object
from mesh.manifests import parse_manifests
from mesh.model import PortMapping, TunnelProtocol, Workload
from mesh.policy.model import Authorization
from mesh.settings import MeshSettings
from tests.unit.mesh.catalogue.objects import changes_between

SETTINGS = MeshSettings(trust_domain="td", cluster_id="c1", cluster_domain="example")
WEB = "shop/web.shop.svc.example"
AMBIENT = "istio.io/dataplane-mode: ambient"
CAPTURED = ", annotations: {ambient.istio.io/redirection: enabled}"


def read(*documents: str) -> Mapping[ObjectKey, Object]:
    text = "".join(f"---\napiVersion: v1\n{document}\n" for document in documents)
    return parse_manifests({"f.yaml": text}).objects


class World:
    """A catalogue, and the reading that it was brought to last."""

    def __init__(self, *documents: str) -> None:
        self.catalogue = Catalogue(SETTINGS)
        self.objects: Mapping[ObjectKey, Object] = {}
        self.delta = self.become(*documents)

    def become(self, *documents: str) -> Delta:
        before, self.objects = self.objects, read(*documents)
        self.delta = self.catalogue.apply(changes_between(before, self.objects))
        return self.delta

    def pod(self, name: str) -> Workload:
        return self.catalogue.workloads[f"c1//Pod/shop/{name}"]


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
    workload = World(namespace(), pod("a", status=", podIP: 10.0.0.1")).pod("a")
    assert (workload.uid, workload.node, workload.cluster, str(workload.identity)) == (
        "c1//Pod/shop/a",
        "n",
        "c1",
        "spiffe://td/ns/shop/sa/default",
    )
    assert (workload.healthy, workload.tunnel_protocol, list(map(str, workload.addresses))) == (True, TunnelProtocol.NONE, ["10.0.0.1"])
    assert (workload.workload_name, workload.canonical_name, workload.canonical_revision) == ("a", "web", "latest")


def tunnelled(*pods: str) -> list[bool]:
    workloads = World(namespace(AMBIENT), *pods).catalogue.workloads
    return [workloads[uid].tunnel_protocol is TunnelProtocol.HBONE for uid in sorted(workloads)]


def test_a_pod_that_is_to_be_captured_and_is_can_be_tunnelled_to() -> None:
    assert tunnelled(
        pod("a", metadata=CAPTURED),
        pod("b", metadata=CAPTURED, labels="istio.io/dataplane-mode: none"),
        pod("c", metadata=CAPTURED, spec="nodeName: n, hostNetwork: true"),
        pod("d"),
        pod("e", metadata=CAPTURED.replace("enabled", "partial")),
    ) == [True, False, False, False, False]


def test_a_namespaces_label_takes_its_pods_along_save_those_with_a_word_of_their_own() -> None:
    pods = (pod("a", metadata=CAPTURED), pod("b", metadata=CAPTURED, labels="istio.io/dataplane-mode: none"))
    world = World(namespace(), *pods)
    assert world.pod("a").tunnel_protocol is TunnelProtocol.NONE
    assert set(world.become(namespace(AMBIENT), *pods).workloads) == {"c1//Pod/shop/a"}
    assert world.pod("a").tunnel_protocol is TunnelProtocol.HBONE
    assert set(world.become(namespace(), *pods).workloads) == {"c1//Pod/shop/a"}


def test_pods_that_are_not_scheduled_or_have_finished_are_left_out() -> None:
    finished = pod("b").replace("Running", "Failed")
    world = World(namespace(), pod("a", spec="nodeName: ''"), pod("b"))
    assert set(world.catalogue.workloads) == {"c1//Pod/shop/b"}
    assert world.become(namespace(), pod("a", spec="nodeName: ''"), finished).workloads == {"c1//Pod/shop/b": None}


def test_endpoints_are_what_the_selector_matches() -> None:
    world = World(
        namespace(),
        pod("a"),
        pod("b", ready=False),
        pod("c", labels="app: other"),
        pod("d", labels="app: web, x: y"),
        pod("e", metadata=", deletionTimestamp: now"),
        service(),
    )
    backing = {one.name: (one.services[WEB], one.healthy) for one in world.catalogue.workloads.values() if WEB in one.services}
    ports = (PortMapping(80, 8080),)
    assert backing == {"a": (ports, True), "b": (ports, False), "d": (ports, True), "e": (ports, False)}


def test_a_change_of_selector_reaches_those_it_leaves_and_those_it_finds() -> None:
    pods = (pod("a"), pod("b", labels="app: api"), pod("c", labels="app: other"))
    world = World(namespace(), *pods, service())
    delta = world.become(namespace(), *pods, service(more="selector: {app: api}, clusterIP: 10.96.0.1"))
    assert set(delta.workloads) == {"c1//Pod/shop/a", "c1//Pod/shop/b"}
    assert delta.services == {}
    assert (WEB in world.pod("a").services, WEB in world.pod("b").services) == (False, True)


def test_ports_by_number_by_name_and_not_at_all() -> None:
    ports = "{port: 80, targetPort: http}, {port: 81, targetPort: 9}, {port: 82}, {port: 83, targetPort: nope}, {port: 53, protocol: UDP}"
    world = World(namespace(), pod("a"), service(ports))
    assert world.pod("a").services[WEB] == (PortMapping(80, 8080), PortMapping(81, 9), PortMapping(82, 82))
    assert world.catalogue.services[WEB].ports == (PortMapping(80, 0), PortMapping(81, 9), PortMapping(82, 82), PortMapping(83, 0))


def test_services_without_selector_back_nothing_and_external_names_are_none() -> None:
    world = World(namespace(), pod("a"), service(more="clusterIP: None"))
    assert world.pod("a").services == {}
    headless = world.catalogue.services[WEB]
    assert (headless.hostname, headless.addresses) == ("web.shop.svc.example", ())
    assert world.become(namespace(), pod("a"), service(more="type: ExternalName")).services == {WEB: None}


def test_a_deployment_is_named_rather_than_its_replica_set() -> None:
    owner = ", ownerReferences: [{kind: ReplicaSet, name: web-abc12, controller: true}]"
    world = World(
        namespace(), pod("a", labels="pod-template-hash: abc12", metadata=owner), pod("b", metadata=owner.replace("ReplicaSet", "Job"))
    )
    assert [world.pod(name).workload_name for name in "ab"] == ["web", "web-abc12"]


def test_telemetry_labels_in_their_order() -> None:
    labels = "app: web, app.kubernetes.io/name: shop-web, version: v1, service.istio.io/canonical-revision: v2"
    workload = World(namespace(), pod("a", labels=labels)).pod("a")
    assert (workload.canonical_name, workload.canonical_revision) == ("shop-web", "v2")


def test_the_generation_grows_only_when_something_changed() -> None:
    world = World(namespace(), pod("a"), service())
    assert world.catalogue.generation == 1
    assert not world.become(namespace("a: b"), pod("a", metadata=", annotations: {x: y}"), service())
    assert world.catalogue.generation == 1
    assert world.become(namespace(AMBIENT), pod("a", metadata=CAPTURED), service())
    assert world.catalogue.generation == 2


def test_which_node_runs_whom() -> None:
    world = World(namespace(), pod("a"), pod("b", spec="nodeName: m"))
    default = Identity("td", "shop", "default")
    assert [world.catalogue.runs(node, default) for node in ("n", "m", "o")] == [True, True, False]
    assert not world.catalogue.runs("n", Identity("other", "shop", "default"))
    assert not world.catalogue.runs("n", Identity("td", "shop", "admin"))
    world.become(namespace(), pod("b", spec="nodeName: m"))
    assert not world.catalogue.runs("n", default)


def test_a_change_costs_what_it_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def counted(books: Books, instance: Instance, mutual_tls: Authorization | None) -> Workload:
        rendered.append(instance.workload.name)
        return render(books, instance, mutual_tls)

    monkeypatch.setattr("mesh.catalogue.catalogue.render", counted)
    others = [pod(f"other-{number}", labels=f"app: other-{number % 3}") for number in range(30)]
    world = World(namespace(), *others, pod("a"), pod("b"), service())
    assert len(rendered) == 32
    rendered.clear()
    world.become(namespace(), *others, pod("a", ready=False), pod("b"), service())
    assert rendered == ["a"]
    rendered.clear()
    world.become(namespace(), *others, pod("a", ready=False), pod("b"), service(ports="{port: 81}"))
    assert sorted(rendered) == ["a", "b"]
    rendered.clear()
    assert world.become(namespace(), *others, pod("a", ready=False), pod("b"), service(ports="{port: 81}", more="selector: {app: web}"))
    assert rendered == []
