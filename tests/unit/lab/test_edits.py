import pytest

from lab.cluster import Cluster, empty_cluster
from lab.edits import apply_files, change_labels, delete_files, delete_object, parse_label
from mesh.errors import ConfigError, ConfigErrors

SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME, namespace: shop}\nspec: {containers: [{name: a, command: [b]}]}\n---\n"


@pytest.fixture
def shop() -> Cluster:
    return apply_files({"a.yaml": SHOP + POD.replace("NAME", "one")})(empty_cluster(("node1",)))


def pods(cluster: Cluster) -> set[str]:
    return {name for _, name in cluster.pods()}


def test_a_later_file_may_refer_to_what_is_there(shop: Cluster):
    assert pods(apply_files({"b.yaml": POD.replace("NAME", "two")})(shop)) == {"one", "two"}


def test_what_nobody_declared_is_an_error_and_changes_nothing(shop: Cluster):
    with pytest.raises(ConfigErrors, match=r"b.yaml:1:metadata.namespace"):
        apply_files({"b.yaml": POD.replace("shop", "nowhere").replace("NAME", "x")})(shop)


def test_the_same_object_in_two_files_is_an_error(shop: Cluster):
    with pytest.raises(ConfigErrors, match="another stands in"):
        apply_files({"b.yaml": POD.replace("NAME", "x"), "c.yaml": POD.replace("NAME", "x")})(shop)


def test_the_same_object_again_is_an_update(shop: Cluster):
    assert pods(apply_files({"c.yaml": POD.replace("NAME", "one")})(shop)) == {"one"}


def test_pruning_leaves_what_the_files_name_and_what_is_always_there(shop: Cluster):
    pruned = apply_files({"b.yaml": SHOP + POD.replace("NAME", "two")}, prune=True)(shop)
    assert pods(pruned) == {"two"}
    assert pruned.namespaces() == ("default", "istio-system", "shop")
    assert set(pruned.bodies("Node")) == {("", "node1")}


def test_deleting_a_pod(shop: Cluster):
    assert pods(delete_files({"b.yaml": POD.replace("NAME", "one")})(shop)) == set()


def test_with_a_namespace_goes_what_is_in_it(shop: Cluster):
    left = delete_files({"b.yaml": SHOP})(shop)
    assert left.entries == empty_cluster(("node1",)).entries


@pytest.mark.parametrize("kind", ["pod", "pods", "po", "Pod"])
def test_deleting_by_name(shop: Cluster, kind: str):
    assert pods(delete_object(kind, "shop/one")(shop)) == set()


def test_deleting_by_name_again_when_its_pods_have_ended(shop: Cluster):
    edit = delete_object("pod", "shop/one")
    assert edit(edit(shop)) == edit(shop)


def test_deleting_a_namespace_by_name(shop: Cluster):
    assert delete_object("ns", "shop")(shop).entries == empty_cluster(("node1",)).entries


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("pod", "shop/two", "pod: 'shop/two': expected one of shop/one"),
        ("peerauthentication", "a", "peerauthentication: 'default/a': expected one that exists"),
        ("namespace", "default", "expected another: the lab always has this one"),
        ("node", "node1", "expected another"),
    ],
)
def test_what_cannot_be_deleted(shop: Cluster, kind: str, name: str, message: str):
    with pytest.raises(ConfigError, match=message):
        delete_object(kind, name)(shop)


def test_a_namespace_of_a_nodes_name_takes_no_node_with_it(shop: Cluster):
    other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: node1}\n"
    both = apply_files({"c.yaml": other})(shop)
    assert delete_files({"c.yaml": other})(both).entries == shop.entries


def test_labelling_a_node(shop: Cluster):
    cluster = change_labels("node", "default/node1", {"topology.kubernetes.io/zone": "a"})(shop)
    assert cluster.bodies("Node")["", "node1"]["metadata"]["labels"] == {
        "kubernetes.io/hostname": "node1", "topology.kubernetes.io/zone": "a",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["one", "shop/one"])
def test_labelling_by_name(shop: Cluster, name: str):
    edit = change_labels("pod", f"shop/{name}" if "/" not in name else name, {"a": "b"})
    assert edit(shop).bodies("Pod")["shop", "one"]["metadata"]["labels"] == {"a": "b"}


def test_only_some_kinds_are_labelled():
    with pytest.raises(ConfigError, match="namespace, node, pod, service"):
        change_labels("deployment", "a", {})


@pytest.mark.parametrize(
    ("text", "expected"), [("a=b", ("a", "b")), ("a=", ("a", "")), ("a-", ("a", None)), ("a=b-", ("a", "b-")), ("a=b=c", ("a", "b=c"))]
)
def test_labels_of_the_command_line(text: str, expected: tuple[str, str | None]):
    assert parse_label(text) == expected


@pytest.mark.parametrize("text", ["a", "=b", "-", ""])
def test_what_is_no_label(text: str):
    with pytest.raises(ConfigErrors, match="KEY=VALUE"):
        parse_label(text)
