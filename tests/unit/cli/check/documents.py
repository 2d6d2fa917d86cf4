"""Objects as the API server gives them, as far as a check looks at them."""

from typing import Any

Document = dict[str, Any]
VERSION = "0.1.0"
SYSTEM = "ambient-system"


def namespace(name: str) -> Document:
    return {"metadata": {"name": name}}


def mesh_namespace(name: str = "shop") -> Document:
    return {"metadata": {"name": name, "labels": {"istio.io/dataplane-mode": "ambient"}}}


def pod(name: str, place: str = "shop", *, captured: bool = True, ports: dict[str, int] | None = None, **labels: str) -> Document:
    listed = [{"name": port, "containerPort": number} for port, number in (ports or {}).items()]
    return {
        "metadata": {
            "name": name,
            "namespace": place,
            "labels": labels,
            "annotations": {"ambient.istio.io/redirection": "enabled"} if captured else {},
        },
        "spec": {"nodeName": "node1", "containers": [{"name": "app", "ports": listed}]},
        "status": {"phase": "Running"},
    }


def own_pod(name: str, part: str = "ambient", version: str = VERSION, *statuses: Document) -> Document:
    made = pod(name, SYSTEM, captured=False, **{"app.kubernetes.io/name": part, "app.kubernetes.io/version": version})
    made["metadata"]["labels"]["istio.io/dataplane-mode"] = "none"
    made["status"]["containerStatuses"] = list(statuses)
    return made


def policy(name: str, *rules: Document, place: str = "shop", selector: Document | None = None, types: list[str] | None = None) -> Document:
    spec: Document = {"podSelector": selector or {}, "ingress": list(rules)}
    return {"metadata": {"name": name, "namespace": place}, "spec": spec | ({"policyTypes": types} if types else {})}


def node(name: str, kernel: str = "6.1.0-18-amd64", *, architecture: str = "amd64", ready: bool = True) -> Document:
    condition = (
        {"type": "Ready", "status": "True"} if ready else {"type": "Ready", "status": "False", "message": "cni plugin not initialized"}
    )
    info = {"kernelVersion": kernel, "architecture": architecture, "operatingSystem": "linux"}
    return {"metadata": {"name": name}, "status": {"nodeInfo": info, "conditions": [condition]}}


def daemonset(ready: int = 2, wanted: int = 2, updated: int = 2, *, capture: str = "ebpf") -> Document:
    status = {"desiredNumberScheduled": wanted, "numberReady": ready, "updatedNumberScheduled": updated, "observedGeneration": 1}
    template = {"spec": {"containers": [{"name": "agent", "env": [{"name": "CAPTURE", "value": capture}]}]}}
    return {
        "metadata": {"name": "ambient", "namespace": SYSTEM, "generation": 1},
        "spec": {"template": template},
        "status": status,
    }


def deployment(ready: int = 2, wanted: int = 2) -> Document:
    status = {"readyReplicas": ready, "updatedReplicas": ready, "observedGeneration": 1}
    return {
        "metadata": {"name": "ambient-controlplane", "namespace": SYSTEM, "generation": 1},
        "spec": {"replicas": wanted},
        "status": status,
    }
