"""Which pods a node has, and which of them are wanted."""

from daemonset.pods import NodePods, PodInfo, pods_of_node
from mesh.manifests import parse_manifests

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, uid: {name}-uid, labels: {labels}}}
spec: {{nodeName: {node}, hostNetwork: {host_network}, containers: [{{name: c, image: c}}]}}
status: {{phase: {phase}}}
"""


def pod(name: str, *, node: str = "here", labels: str = "{}", host_network: str = "false", phase: str = "Running") -> str:
    return POD.format(name=name, node=node, labels=labels, host_network=host_network, phase=phase)


def look(*pods: str, mode: str = "ambient") -> NodePods:
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{istio.io/dataplane-mode: {mode}}}}}\n"
    manifests = parse_manifests({"all.yaml": "---".join([namespace, *pods])})
    return pods_of_node(manifests.pods.values(), manifests.namespaces, "here")


def read(*pods: str, mode: str = "ambient") -> tuple[set[str], set[str]]:
    found = look(*pods, mode=mode)
    return set(found.known), set(found.wanted)


def test_only_pods_of_the_node() -> None:
    assert read(pod("a"), pod("b", node="elsewhere")) == ({"a-uid"}, {"a-uid"})


def test_the_pods_own_label_wins() -> None:
    none, ambient = "{istio.io/dataplane-mode: none}", "{istio.io/dataplane-mode: ambient}"
    assert read(pod("a", labels=none), pod("b")) == ({"a-uid", "b-uid"}, {"b-uid"})
    assert read(pod("a", labels=ambient), pod("b"), mode="none") == ({"a-uid", "b-uid"}, {"a-uid"})


def test_host_network_is_never_wanted() -> None:
    assert read(pod("a", host_network="true")) == ({"a-uid"}, set())


def test_finished_pods_are_not_there() -> None:
    assert read(pod("a", phase="Succeeded"), pod("b", phase="Failed"), pod("c", phase="Pending")) == ({"c-uid"}, {"c-uid"})


def test_what_ztunnel_is_told() -> None:
    assert look(pod("a")).known["a-uid"] == PodInfo("a-uid", "a", "shop", "default")
