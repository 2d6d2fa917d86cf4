from collections.abc import Callable

import pytest

from lab.cluster import Cluster, relabel
from mesh.errors import ConfigError, ConfigErrors

Build = Callable[..., Cluster]


def pod(name: str, spec: str = "", labels: str = "{}") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {labels}}}
spec: {{containers: [{{name: main, command: [run]}}] {spec}}}
---
"""


def placed(cluster: Cluster) -> dict[str, tuple[str, list[str]]]:
    return {name: (one.spec.node_name, list(map(str, one.addresses))) for (_, name), one in cluster.pods().items()}


def test_pods_are_placed_in_turn_and_addressed_in_both_families(build: Build):
    assert placed(build("".join(map(pod, "abc")))) == {
        "a": ("node1", ["10.244.1.2", "fd00:10:244:1::2"]),
        "b": ("node2", ["10.244.2.2", "fd00:10:244:2::2"]),
        "c": ("node1", ["10.244.1.3", "fd00:10:244:1::3"]),
    }


def test_a_pod_may_choose_its_node_and_takes_no_turn(build: Build):
    cluster = build(pod("a", ", nodeName: node2") + pod("b") + pod("c"))
    assert [node for node, _ in placed(cluster).values()] == ["node2", "node1", "node2"]


def test_a_pod_on_the_nodes_network_has_the_nodes_addresses(build: Build):
    cluster = build(pod("a", ", hostNetwork: true") + pod("b", ", nodeName: node1"))
    assert placed(cluster) == {"a": ("node1", ["172.30.0.11", "fd00:172:30::11"]), "b": ("node1", ["10.244.1.2", "fd00:10:244:1::2"])}


def test_applying_the_same_again_changes_nothing(build: Build, web: Cluster):
    from_file = build(pod("a"), onto=web)
    assert build(pod("a"), onto=from_file) == from_file


def test_new_labels_leave_the_pod_running(build: Build):
    before = build(pod("a"))
    after = build(pod("a", labels="{app: web}"), onto=before)
    assert after.bodies("Pod")["default", "a"]["metadata"]["labels"] == {"app": "web"}
    assert after.pods()["default", "a"].metadata.uid == before.pods()["default", "a"].metadata.uid
    assert placed(after) == placed(before)


def test_another_spec_makes_another_pod(build: Build):
    before = build(pod("a"))
    after = build(pod("a", ", nodeName: node2"), onto=before)
    assert after.pods()["default", "a"].metadata.uid != before.pods()["default", "a"].metadata.uid
    assert placed(after)["a"][0] == "node2"


def test_labels_set_by_hand_outlive_the_next_apply(build: Build):
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: LABEL}}"
    cluster = build(namespace.replace("LABEL", "a"))
    cluster = relabel(cluster, ("Namespace", "shop", "shop"), {"istio.io/dataplane-mode": "ambient"})
    labels = build(namespace.replace("LABEL", "b"), onto=cluster).bodies("Namespace")["shop", "shop"]["metadata"]["labels"]
    assert labels == {"kubernetes.io/metadata.name": "shop", "team": "b", "istio.io/dataplane-mode": "ambient"}


def test_a_label_is_taken_away(build: Build):
    key = ("Pod", "default", "a")
    cluster = relabel(build(pod("a", labels="{app: web, tier: x}")), key, {"app": None, "never": None})
    assert cluster.entries[key].resolved["metadata"]["labels"] == {"tier": "x"}


def test_labelling_what_is_not_there_says_what_is(web: Cluster):
    with pytest.raises(ConfigError, match="default/client, default/web-1"):
        relabel(web, ("Pod", "default", "nope"), {"a": "b"})


@pytest.mark.parametrize(
    ("spec", "addresses"),
    [
        ("", ["10.96.0.11", "fd00:10:96::b"]),
        ("clusterIP: None", []),
        ("type: ExternalName", []),
        ("clusterIP: 10.96.7.7", ["10.96.7.7"]),
        ("ipFamilyPolicy: SingleStack", ["10.96.0.11"]),
        ("ipFamilies: [IPv6]", ["fd00:10:96::b"]),
        ("ipFamilies: [IPv6, IPv4]", ["fd00:10:96::b", "10.96.0.11"]),
    ],
)
def test_virtual_ips(build: Build, spec: str, addresses: list[str]):
    cluster = build(f"apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{{spec}}}")
    assert list(map(str, cluster.services()["default", "s"].addresses)) == addresses


def test_services_share_no_virtual_ip(build: Build):
    text = "".join(f"apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\n---\n" for n in range(5))
    addresses = [ip for service in build(text).services().values() for ip in service.addresses]
    assert len(set(addresses)) == 10


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (pod("a", ", nodeName: node9"), "test.yaml:1:spec.nodeName", "node9"),
        (pod("a").replace("command: [run]", "image: nginx"), "test.yaml:1:spec.containers.0.command", None),
        (pod("a", ", initContainers: [{name: x}]"), "test.yaml:1:spec.initContainers", "a list"),
        (pod("a").replace("[run]", "[run], envFrom: [{}]"), "test.yaml:1:spec.containers.0.envFrom", "a list"),
        (
            pod("a").replace("[run]", "[run], env: [{name: A, value: x}, {name: B, valueFrom: {secretKeyRef: {}}}]"),
            "test.yaml:1:spec.containers.0.env.1.valueFrom",
            "secretKeyRef",
        ),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}", "test.yaml:1:kind", "Deployment"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 1.2.3.4}", "test.yaml:1:spec.clusterIPs", "1.2.3.4"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(build: Build, text: str, key: str, value: object):
    with pytest.raises(ConfigErrors) as caught:
        build(text)
    (error,) = caught.value.errors
    assert (error.key, error.value) == (key, value)


def test_all_errors_come_at_once(build: Build):
    with pytest.raises(ConfigErrors) as caught:
        build(pod("a", ", nodeName: x") + pod("b", ", nodeName: y"))
    assert len(caught.value.errors) == 2


def test_two_pods_cannot_share_the_name_of_a_namespace(build: Build):
    namespaces = "".join(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n" for name in ("a", "a-b"))
    one = pod("b-c").replace("{name: b-c", "{namespace: a, name: b-c")
    other = pod("c").replace("{name: c", "{namespace: a-b, name: c")
    with pytest.raises(ConfigErrors, match="another name"):
        build(namespaces + one + other)


def test_a_node_holds_as_many_pods_as_it_has_addresses(build: Build):
    full = build("".join(pod(f"p{n}", ", nodeName: node1") for n in range(253)))
    assert len({addresses[0] for _, addresses in placed(full).values()}) == 253
    with pytest.raises(ConfigErrors, match="253"):
        build(pod("more", ", nodeName: node1"), onto=full)


def test_what_the_user_wrote_stays(build: Build):
    text = pod("a", ", tolerations: [{key: x}], nodeSelector: {a: b}")
    spec = build(text).bodies("Pod")["default", "a"]["spec"]
    assert spec["tolerations"] == [{"key": "x"}]
    assert spec["serviceAccountName"] == "default"


def test_objects_of_other_kinds_pass_through(build: Build):
    body = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "default"}}
    cluster = build("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}")
    assert cluster.bodies("AuthorizationPolicy") == {("default", "p"): body}


def test_the_labs_nodes_are_objects_that_manifests_describe(build: Build):
    text = "apiVersion: v1\nkind: Node\nmetadata: {name: node2, labels: {topology.kubernetes.io/zone: b}}"
    nodes = build(text).bodies("Node")
    assert [name for _, name in nodes] == ["node1", "node2"]
    assert nodes["", "node2"]["metadata"] == {
        "name": "node2", "labels": {"kubernetes.io/hostname": "node2", "topology.kubernetes.io/zone": "b"},
    }  # fmt: skip
    assert nodes["", "node1"]["status"]["addresses"][0] == {"type": "InternalIP", "address": "172.30.0.11"}


def test_a_node_that_the_lab_does_not_have(build: Build):
    with pytest.raises(ConfigErrors, match=r"metadata.name: 'node3': expected one of node1, node2"):
        build("apiVersion: v1\nkind: Node\nmetadata: {name: node3}")
