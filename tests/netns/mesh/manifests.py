"""The pods of these tests, on two nodes and in namespaces alike: `mesh` and `guest` are captured, `plain` is not, `toggle` changes."""

from pathlib import Path

import yaml

from mesh.enrolment import AMBIENT, MODE_LABEL

APP_PORT, OTHER_PORT = 8000, 8001
SERVICE_PORT = 80
MESH, GUEST, PLAIN, TOGGLE = "mesh", "guest", "plain", "toggle"
# Each namespace has a client on node1, and a server on each node: "near" beside the client, "far" away from it.
CLIENT, NEAR, FAR = "client", "near", "far"
NODES = {CLIENT: "node1", NEAR: "node1", FAR: "node2"}
SERVICE = "web"


def manifests(*namespaces: str) -> dict[str, str]:
    """The text of the manifests by file name."""
    return {f"{namespace}.yaml": yaml.safe_dump_all(_objects(namespace)) for namespace in namespaces}


def _objects(namespace: str) -> list[dict[str, object]]:
    labels = {MODE_LABEL: AMBIENT} if namespace in (MESH, GUEST) else {}
    accounts = [manifest("ServiceAccount", namespace, name) for name in (CLIENT, SERVICE)]
    service = {"selector": {"app": SERVICE}, "ports": [{"port": SERVICE_PORT, "targetPort": APP_PORT}]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        *accounts,
        manifest("Service", namespace, SERVICE, spec=service),
        *(pod(namespace, name, NODES[name], CLIENT if name == CLIENT else SERVICE) for name in NODES),
    ]


def pod(namespace: str, name: str, node: str, role: str, **labels: str) -> dict[str, object]:
    """A pod of the app; its role is its service account and its label `app`."""
    command = ["python3", str(Path(__file__).parent / "app.py"), str(APP_PORT), str(OTHER_PORT)]
    ports = [{"name": "talk", "containerPort": APP_PORT}, {"name": "other", "containerPort": OTHER_PORT}]
    spec = {
        "nodeName": node,
        "serviceAccountName": role,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "app", "command": command, "ports": ports}],
    }
    return manifest("Pod", namespace, name, labels={"app": role, "pod": name, **labels}, spec=spec)


def manifest(
    kind: str, namespace: str, name: str, labels: dict[str, str] | None = None, api: str = "v1", **more: object
) -> dict[str, object]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, **more}
