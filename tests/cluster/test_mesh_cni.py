"""Captured before the first packet: pods of a namespace that is in the mesh already."""

import json
from pathlib import Path

import pytest

from tests.cluster.kubectl import KubectlFailed
from tests.cluster.mesh import NAMESPACE, Mesh, Stream
from tests.cluster.processes import until

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
"""
HASTY = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  serviceAccountName: load
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  nodeName: {node}
  initContainers: [{{name: at-once, image: localhost/tools:1, command: [curl, -sS, -m, "10", http://web/]}}]
  containers: [{{name: done, image: localhost/tools:1, command: [echo, done]}}]
"""


@pytest.fixture
def strict(mesh: Mesh, stream: Stream, namespace: str) -> str:
    """A namespace in the mesh whose servers take no plaintext."""
    mesh.label(namespace, "ambient")
    until(lambda: all(mesh.redirected(namespace).values()), "every pod is captured", mesh.cluster.layout)
    mesh.cluster.kubectl.apply(STRICT, "-n", namespace)
    return namespace


def conflist(mesh: Mesh, node: int) -> list[str]:
    """The plugins of a node's network, in their order."""
    path = mesh.cluster.layout.nodes[node].directory / "root/etc/cni/net.d/10-bridge.conflist"
    return [one["type"] for one in json.loads(path.read_text())["plugins"]]


def test_an_init_container_that_sends_at_once_is_captured(mesh: Mesh, strict: str) -> None:
    """On each node, five times: what is not captured from the first packet on would be refused."""
    kubectl = mesh.cluster.kubectl
    names = [f"hasty-{node.name}-{number}" for node in mesh.cluster.layout.nodes for number in range(5)]
    for name in names:
        kubectl.apply(HASTY.format(name=name, node=name.split("-")[1]), "-n", strict)
    for name in names:
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "-n", strict, "--timeout=60s")
        assert kubectl("logs", name, "-c", "at-once", "-n", strict).startswith("web-")


def test_without_an_agent_pods_of_the_mesh_wait_and_the_clusters_own_start(mesh: Mesh, strict: str) -> None:
    kubectl = mesh.cluster.kubectl
    kubectl(
        "patch", "daemonset/ambient", "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"template":{"spec":{"nodeSelector":{"none":"x"}}}}}'
    )
    try:
        until(lambda: not mesh.pods_of("ambient"), "no agent is left", mesh.cluster.layout)
        kubectl.apply(HASTY.format(name="waits", node="node1"), "-n", strict)

        def held_back() -> bool:
            events = kubectl.get("events", "-n", strict, "--field-selector=involvedObject.name=waits")["items"]
            return any("DaemonSet ambient" in one["message"] for one in events)

        until(held_back, "an event says why the pod does not start", mesh.cluster.layout)
        kubectl("delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--wait=false")
        kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=90s")
        with pytest.raises(KubectlFailed):
            kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/waits", "-n", strict, "--timeout=1s")
    finally:
        kubectl(
            "patch",
            "daemonset/ambient",
            "-n",
            NAMESPACE,
            "--type=json",
            "-p",
            '[{"op":"remove","path":"/spec/template/spec/nodeSelector/none"}]',
        )
        kubectl("rollout", "status", "daemonset/ambient", "-n", NAMESPACE, "--timeout=120s")
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/waits", "-n", strict, "--timeout=120s")


def test_the_plugin_is_last_and_comes_back_when_the_network_writes_its_configuration_anew(mesh: Mesh) -> None:
    assert conflist(mesh, 0)[-1] == "ambient-cni"
    path = Path(mesh.cluster.layout.nodes[0].directory)
    (path / "root/etc/cni/net.d/10-bridge.conflist").write_text((path / "cni.conflist").read_text())
    until(lambda: conflist(mesh, 0)[-1] == "ambient-cni", "the plugin is back", mesh.cluster.layout)
