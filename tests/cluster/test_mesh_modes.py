"""The other way of capture, and an end of the mesh that leaves nothing behind."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from daemonset.node.probe_rules import TABLE
from tests.cluster.kubectl import KubectlFailed
from tests.cluster.layout import Node
from tests.cluster.mesh import NAMESPACE, Mesh, Stream
from tests.cluster.processes import until


@pytest.fixture
def by_iptables(mesh: Mesh) -> Iterator[Mesh]:
    mesh.upgrade(agent__capture="iptables")
    yield mesh
    mesh.upgrade(agent__capture="ebpf")


def test_capture_by_iptables(by_iptables: Mesh, stream: Stream, namespace: str) -> None:
    mesh = by_iptables
    mesh.label(namespace, "ambient")
    until(lambda: all(mesh.redirected(namespace).values()), "every pod is captured", mesh.cluster.layout)
    stream.goes_on()
    assert mesh.ztunnel_lines(src_identity=f"spiffe://cluster.local/ns/{namespace}/sa/load", direction="outbound")
    mesh.cluster.kubectl("rollout", "restart", "daemonset/ambient", "-n", NAMESPACE)
    mesh.cluster.kubectl("rollout", "status", "daemonset/ambient", "-n", NAMESPACE, "--timeout=120s")
    stream.goes_on()
    mesh.label(namespace, None)
    until(lambda: not any(mesh.redirected(namespace).values()), "no pod is captured", mesh.cluster.layout)
    stream.goes_on()
    assert stream.failures() == []


def on_node(mesh: Mesh, node: Node, *command: str) -> str:
    """What a program says in the network namespace of a node."""
    return subprocess.run(["ip", "netns", "exec", node.netns, *command], capture_output=True, text=True, check=True).stdout


def test_uninstalled_it_leaves_nothing_and_pods_go_on(mesh: Mesh, stream: Stream, namespace: str) -> None:
    mesh.label(namespace, "ambient")
    until(lambda: all(mesh.redirected(namespace).values()), "every pod is captured", mesh.cluster.layout)
    stream.goes_on()
    mesh.uninstall()
    try:
        stream.goes_on()
        assert stream.failures() == []
        assert not any(mesh.redirected(namespace).values())
        for node in mesh.cluster.layout.nodes:
            root = node.directory / "root"
            plugins = json.loads((root / "etc/cni/net.d/10-bridge.conflist").read_text())["plugins"]
            assert "ambient-cni" not in {one["type"] for one in plugins}
            assert not (root / "opt/cni/bin/ambient-cni").exists()
            assert list((root / "run/ambient").iterdir()) == []
            assert TABLE not in on_node(mesh, node, "nft", "list", "tables").split()
        left = mesh.cluster.kubectl.get("all,secrets,configmaps,leases", "-n", NAMESPACE)["items"]
        assert {one["metadata"]["name"] for one in left} <= {"kube-root-ca.crt"}
        for kind in ("clusterrole", "clusterrolebinding"):
            with pytest.raises(KubectlFailed):
                mesh.cluster.kubectl("get", kind, "ambient")
    finally:
        mesh.install()
