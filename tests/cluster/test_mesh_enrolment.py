"""A label, and what becomes of the pods of its namespace: while they run, and from their first packet on."""

import time

import pytest

from tests.cluster.kubectl import KubectlFailed
from tests.cluster.mesh import Mesh, Stream
from tests.cluster.processes import until

# What the mesh promises between a label and a pod that is captured.
JOIN_TIME_LIMIT_S = 2.0


def identity(namespace: str, account: str) -> str:
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


def restarts(mesh: Mesh, namespace: str) -> int:
    pods = mesh.cluster.kubectl.get("pods", "-n", namespace)["items"]
    return sum(container["restartCount"] for pod in pods for container in pod["status"]["containerStatuses"])


def test_running_pods_join_and_leave_without_a_failed_request(mesh: Mesh, stream: Stream, namespace: str) -> None:
    before = set(mesh.redirected(namespace))
    labelled = time.monotonic()
    mesh.label(namespace, "ambient")
    until(lambda: all(mesh.redirected(namespace).values()), "every pod says that it is captured", mesh.cluster.layout)
    joined_s = time.monotonic() - labelled

    stream.goes_on()
    tunnels = mesh.ztunnel_lines(src_identity=identity(namespace, "load"), dst_identity=identity(namespace, "web"), direction="outbound")
    assert tunnels, "no tunnel has both identities"

    mesh.label(namespace, None)
    until(lambda: not any(mesh.redirected(namespace).values()), "no pod says that it is captured", mesh.cluster.layout)
    stream.goes_on()

    assert joined_s < JOIN_TIME_LIMIT_S
    assert stream.failures() == []
    assert set(mesh.redirected(namespace)) == before
    assert restarts(mesh, namespace) == 0


def test_events_of_a_pod_tell_of_joining_and_leaving(mesh: Mesh, stream: Stream, namespace: str) -> None:
    def reasons() -> set[str]:
        events = mesh.cluster.kubectl.get("events.events.k8s.io", "-n", namespace)["items"]
        return {one["reason"] for one in events if one["regarding"]["name"] == "load"}

    mesh.label(namespace, "ambient")
    until(lambda: "MeshCaptured" in reasons(), "an event tells of capture", mesh.cluster.layout)
    mesh.label(namespace, None)
    until(lambda: "MeshReleased" in reasons(), "an event tells of release", mesh.cluster.layout)
    assert "MeshCaptureFailed" not in reasons()


HOST_NETWORK = """
apiVersion: v1
kind: Pod
metadata: {name: on-the-nodes-network}
spec:
  hostNetwork: true
  containers: [{name: sleep, image: localhost/tools:1, command: [sleep, "3600"]}]
"""


def test_a_pod_on_the_nodes_network_is_left_alone(mesh: Mesh, stream: Stream, namespace: str) -> None:
    mesh.cluster.kubectl.apply(HOST_NETWORK, "-n", namespace)
    mesh.cluster.kubectl("wait", "--for=condition=Ready", "pod/on-the-nodes-network", "-n", namespace, "--timeout=60s")
    mesh.label(namespace, "ambient")
    until(lambda: mesh.redirected(namespace)["load"], "the others are captured", mesh.cluster.layout)
    assert not mesh.redirected(namespace)["on-the-nodes-network"]


WORKLOADS = """
apiVersion: v1
kind: Service
metadata: {name: database}
spec: {clusterIP: None, selector: {app: database}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database}
spec:
  serviceName: database
  replicas: 2
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: database
        image: localhost/tools:1
        command: [sh, -c, "hostname > /www/index.html; exec busybox httpd -f -p 80 -h /www"]
        readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: once
        image: localhost/tools:1
        command: [sh, -c, "curl -sS -m 5 --retry 3 --retry-connrefused http://database-1.database/"]
"""


@pytest.mark.usefixtures("stream")
def test_pods_of_a_stateful_set_by_their_own_names_and_a_job(mesh: Mesh, namespace: str) -> None:
    kubectl = mesh.cluster.kubectl
    mesh.label(namespace, "ambient")
    manifests = WORKLOADS.split("---\n")
    for manifest in manifests[:2]:
        kubectl.apply(manifest, "-n", namespace)
    kubectl("rollout", "status", "statefulset/database", "-n", namespace, "--timeout=60s")
    kubectl.apply(manifests[2], "-n", namespace)
    kubectl("wait", "--for=condition=Complete", "job/once", "-n", namespace, "--timeout=60s")
    assert kubectl("logs", "job/once", "-n", namespace).strip() == "database-1"


PROBED = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: localhost/tools:1
    command: [sh, -c, "echo fine > /www/index.html; exec busybox httpd -f -p 8080 -h /www"]
    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {httpGet: {port: 8080}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, labels: {istio.io/dataplane-mode: none}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: sleep, image: localhost/tools:1, command: [sleep, "3600"]}]
"""


def test_probes_pass_where_plaintext_does_not(mesh: Mesh, namespace: str) -> None:
    kubectl = mesh.cluster.kubectl
    mesh.label(namespace, "ambient")
    kubectl.apply(PROBED, "-n", namespace)
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", namespace, "--timeout=60s")
    until(lambda: mesh.redirected(namespace)["probed"], "the pod is captured", mesh.cluster.layout)
    address = kubectl.get("pod", "probed", "-n", namespace)["status"]["podIP"]
    fetch = ["exec", "outsider", "-n", namespace, "--", "curl", "-sS", "-m", "5", f"http://{address}:8080/"]

    def refused() -> bool:
        try:
            kubectl(*fetch)
        except KubectlFailed:
            return True
        return False

    until(refused, "plaintext is refused", mesh.cluster.layout)
    # One probe that fails makes it unready, or starts it again: ten rounds of them do not.
    with pytest.raises(KubectlFailed, match="timed out"):
        kubectl("wait", "--for=condition=Ready=false", "pod/probed", "-n", namespace, "--timeout=10s")
    [status] = kubectl.get("pod", "probed", "-n", namespace)["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0)
