"""The test cluster is a real one: what the mesh is tested on does without the mesh what Kubernetes promises."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from lab.processes import is_running
from tests.cluster import journal
from tests.cluster.cluster import Cluster, Unusable, down, up
from tests.cluster.node import CGROUPS, CONTROLLERS
from tests.cluster.processes import until

APPLICATION = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: localhost/tools:1
        command: [sh, -c, "echo $NODE > /www/index.html; exec busybox httpd -f -vv -p 80 -h /www"]
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}
        livenessProbe: {exec: {command: [ls, /www/index.html]}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: client, image: localhost/tools:1, command: [sleep, "3600"]}]
"""


@pytest.fixture
def application(cluster: Cluster, namespace: str) -> str:
    cluster.kubectl.apply(APPLICATION, "-n", namespace)
    cluster.kubectl("rollout", "status", "daemonset/web", "-n", namespace, "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "-n", namespace, "--timeout=60s")
    return namespace


def answered_on_both_nodes(cluster: Cluster, namespace: str, fetch: str) -> bool:
    """Whether the client gets answers of both nodes, and nothing else."""
    return set(cluster.kubectl("exec", "client", "-n", namespace, "--", "sh", "-c", fetch).split()) == {"node1", "node2"}


def test_a_service_reaches_the_pods_of_both_nodes_by_name_and_by_both_families(cluster: Cluster, application: str) -> None:
    addresses = cluster.kubectl.get("service", "web", "-n", application)["spec"]["clusterIPs"]
    targets = [f"web.{application}", *(f"[{one}]" if ":" in one else one for one in addresses)]
    for target in targets:
        fetch = f"for i in $(seq 20); do curl -sS -m 5 http://{target}/; done"
        # kube-proxy hears of the second pod a moment after the first.
        until(partial(answered_on_both_nodes, cluster, application, fetch), f"{target} is answered on both nodes", cluster.layout)


def test_logs_tell_what_a_container_says(cluster: Cluster, application: str) -> None:
    cluster.kubectl("exec", "client", "-n", application, "--", "curl", "-sS", "http://web/marker")
    assert "marker" in cluster.kubectl("logs", "-l", "app=web", "-n", application, "--tail=-1")


def test_pods_of_different_nodes_see_each_others_addresses(cluster: Cluster, application: str) -> None:
    client = cluster.kubectl.get("pod", "client", "-n", application)["status"]["podIPs"]
    for _ in range(20):
        cluster.kubectl("exec", "client", "-n", application, "--", "curl", "-sS", "http://web/")
    for pod in cluster.kubectl.get("pods", "-l", "app=web", "-n", application)["items"]:
        lines = cluster.kubectl("logs", pod["metadata"]["name"], "-n", application)
        assert any(one["ip"] in lines for one in client)


def test_a_node_has_processes_of_its_own(cluster: Cluster) -> None:
    """What asks for the node's namespaces in a pod gets the node's, not this machine's."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "on-the-node"},
        "spec": {
            "hostPID": True,
            "hostNetwork": True,
            "nodeName": "node1",
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "look",
                    "image": "localhost/tools:1",
                    "command": ["sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; ip -o address"],
                }
            ],
        },
    }
    cluster.kubectl.apply(json.dumps(manifest), "-n", "default")
    try:
        cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/on-the-node", "-n", "default", "--timeout=60s")
        seen = cluster.kubectl("logs", "on-the-node", "-n", "default")
    finally:
        cluster.kubectl("delete", "pod", "on-the-node", "-n", "default", "--wait=false")
    assert "node-init.sh" in seen
    assert cluster.layout.nodes[0].addresses[0] in seen


def test_a_second_cluster_of_the_same_name_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Unusable, match="down"):
        up(cluster.layout.name)


def test_down_leaves_nothing_also_after_a_crash() -> None:
    """Beside the cluster of the other tests; its API server and the first process of its node are killed before."""
    name = f"c{os.getpid()}"
    try:
        layout = up(name, node_count=1).layout
        node = layout.nodes[0]
        before = journal.processes(layout)
        for program in (node.name, "kube-apiserver"):
            os.kill(before[program].pid, signal.SIGKILL)
        groups = [CGROUPS / controller / node.cgroup for controller in CONTROLLERS]
        assert all(group.is_dir() for group in groups)
    finally:
        assert down(name)
    assert not layout.root.exists()
    assert not any(is_running(process) for process in before.values())
    assert not any(group.exists() for group in groups)
    assert not Path(f"/run/netns/{node.netns}").exists()
    with IPRoute() as ip:
        assert [one for name in (layout.bridge, layout.port(node)) for one in ip.link_lookup(ifname=name)] == []
    assert not down(name)
