"""A cluster that is only manifests: as many pods, services and policies as are wanted, spread over namespaces and nodes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

# What a team has: some ten services, a few hundred pods.
NAMESPACES = 500
# What Kubernetes is made for. Neighbours are of other services, so that a node has pods of many namespaces.
PODS_OF_NODE = 100
PODS, SERVICES = IPv4Address("10.128.0.0"), IPv4Address("10.96.0.0")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Numbers of workloads, services and policies; each service has the same share of the workloads."""

    workloads: int = 100_000
    services: int = 5_000
    policies: int = 10_000

    @property
    def namespaces(self) -> int:
        return min(NAMESPACES, self.services)

    def write(self, directory: Path) -> None:
        """Writes a file for each namespace."""
        for number in range(self.namespaces):
            write_list(directory / f"{namespace(number)}.json", self.objects(number))

    def objects(self, number: int) -> Iterator[dict[str, Any]]:
        """What is in a namespace: its account, its services with their pods, its policies."""
        name = namespace(number)
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"istio.io/dataplane-mode": "ambient"}}}
        yield _object("v1", "ServiceAccount", "app", name)
        for service in range(number, self.services, self.namespaces):
            yield _service(service, name)
            for pod in range(service, self.workloads, self.services):
                yield pod_manifest(pod, service, name)
        for policy in range(number, self.policies, self.namespaces):
            yield _policy(policy, name, policy // self.namespaces % 2 == 0)


def write_list(path: Path, objects: Iterator[dict[str, Any]]) -> None:
    """Replaces a file at once, as `kubectl get -o json` would print the objects."""
    scratch = path.with_name(f".{path.name}")
    scratch.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
    scratch.rename(path)


def namespace(number: int) -> str:
    return f"team-{number}"


def hostname(service: int, namespaces: int = NAMESPACES) -> str:
    """The name that a service has in the mesh."""
    name = namespace(service % namespaces)
    return f"{name}/service-{service}.{name}.svc.cluster.local"


def pod_manifest(number: int, service: int, name: str, ready: bool = True) -> dict[str, Any]:
    """A pod as Kubernetes has it, with what a control plane does not read left out."""
    pod = _object("v1", "Pod", f"service-{service}-{number}", name)
    pod["metadata"] |= {
        "uid": f"pod-{number}",
        "labels": {"app": f"service-{service}", "version": "v1"},
        "annotations": {"ambient.istio.io/redirection": "enabled"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": f"service-{service}", "controller": True}],
    }
    container = {"name": "app", "image": "app:1", "ports": [{"containerPort": 8080, "name": "http"}]}
    ip = str(PODS + number)
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
    spec = {"nodeName": f"node-{number // PODS_OF_NODE}", "serviceAccountName": "app", "containers": [container]}
    return {**pod, "spec": spec, "status": status}


def _service(number: int, name: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"clusterIP": str(SERVICES + number), "selector": {"app": f"service-{number}"}, "ports": ports}
    return {**_object("v1", "Service", f"service-{number}", name), "spec": spec}


def _policy(number: int, name: str, selecting: bool) -> dict[str, Any]:
    """Half of the policies select the pods of a version, the others hold for their namespace."""
    rule = {
        "from": [{"source": {"namespaces": [name, f"from-{number}"]}}, {"source": {"principals": [f"cluster.local/ns/{name}/sa/app"]}}],
        "to": [{"operation": {"ports": ["8080", str(1024 + number)]}}],
    }
    spec: dict[str, Any] = {"action": "ALLOW", "rules": [rule]}
    if selecting:
        spec["selector"] = {"matchLabels": {"version": "v1"}}
    return {**_object("security.istio.io/v1", "AuthorizationPolicy", f"policy-{number}", name), "spec": spec}


def _object(api: str, kind: str, name: str, of: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": of}}
