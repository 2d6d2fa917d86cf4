"""The pods of these tests, on two nodes and in three namespaces: `mesh` is captured, `plain` is not, `toggle` changes."""

from pathlib import Path

import yaml

from mesh.enrolment import AMBIENT, MODE_LABEL

APP_PORT = 8000
SERVICE_PORT = 80
MESH, PLAIN, TOGGLE = "mesh", "plain", "toggle"
# Each namespace has a client on node1, and a server on each node: "near" beside the client, "far" away from it.
CLIENT, NEAR, FAR = "client", "near", "far"
NODES = {CLIENT: "node1", NEAR: "node1", FAR: "node2"}
SERVICE = "web"


def manifests() -> dict[str, str]:
    """The text of the manifests by file name."""
    return {f"{namespace}.yaml": yaml.safe_dump_all(_objects(namespace)) for namespace in (MESH, PLAIN, TOGGLE)}


def _objects(namespace: str) -> list[dict[str, object]]:
    labels = {MODE_LABEL: AMBIENT} if namespace == MESH else {}
    accounts = [_object("ServiceAccount", namespace, name) for name in (CLIENT, SERVICE)]
    service = {"selector": {"app": SERVICE}, "ports": [{"port": SERVICE_PORT, "targetPort": APP_PORT}]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        *accounts,
        _object("Service", namespace, SERVICE, spec=service),
        *(_pod(namespace, name) for name in NODES),
    ]


def _pod(namespace: str, name: str) -> dict[str, object]:
    role = CLIENT if name == CLIENT else SERVICE
    command = ["python3", str(Path(__file__).parent / "app.py"), str(APP_PORT)]
    spec = {
        "nodeName": NODES[name],
        "serviceAccountName": role,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "app", "command": command, "ports": [{"containerPort": APP_PORT}]}],
    }
    return _object("Pod", namespace, name, labels={"app": role}, spec=spec)


def _object(kind: str, namespace: str, name: str, labels: dict[str, str] | None = None, **more: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, **more}
