"""What Kubernetes fills into an object before anyone else sees it: names, defaults, addresses, status."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.documents import CLUSTER_SCOPED, Body, Key
from lab.scheduling import Placement
from lab.support import refuse_unsupported

# Source: Kubernetes, "Namespaces": every namespace is labelled with its own name.
_NAME_LABEL = "kubernetes.io/metadata.name"


def with_name(body: Body, key: Key) -> Body:
    """Writes out the namespace that the manifest left to the default."""
    kind, namespace, _ = key
    metadata = dict(body.get("metadata") or {})
    return {**body, "metadata": metadata if kind in CLUSTER_SCOPED else {**metadata, "namespace": namespace}}


def resolve_namespace(body: Body) -> Body:
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "labels": {_NAME_LABEL: metadata["name"], **(metadata.get("labels") or {})}}}


def resolve_service(body: Body, addresses: Sequence[str]) -> Body:
    """Fills in the virtual IPs; none make the service headless."""
    listed = list(addresses) or ["None"]
    return {**body, "spec": {**(body.get("spec") or {}), "clusterIP": listed[0], "clusterIPs": listed}}


def resolve_pod(source: str, body: Body, uid: str, placement: Placement) -> Body:
    """Binds a pod to its node, not yet running.

    Raises:
        ConfigError: the pod asks for what the lab does not do.
    """
    refuse_unsupported(source, body)
    spec = {"serviceAccountName": "default", **body["spec"], "nodeName": placement.node}
    status = {
        "hostIP": placement.node_addresses[0],
        "podIP": placement.addresses[0],
        "podIPs": [{"ip": ip} for ip in placement.addresses],
    }
    pod = {**body, "metadata": {**body["metadata"], "uid": uid}, "spec": spec, "status": status}
    return with_status(pod, "Pending", ready=False, restarts={})


def with_status(pod: Body, phase: str, *, ready: bool, restarts: Mapping[str, int]) -> Body:
    """The pod as kubelet reports it; `restarts` by container."""
    conditions = [{"type": "Ready", "status": str(ready)}]
    containers = [{"name": one["name"], "ready": ready, "restartCount": restarts.get(one["name"], 0)} for one in pod["spec"]["containers"]]
    return {**pod, "status": {**pod["status"], "phase": phase, "conditions": conditions, "containerStatuses": containers}}


def with_deletion(pod: Body, timestamp: str) -> Body:
    """The pod while it ends: marked, and no longer ready, so that services stop sending it connections first."""
    phase = pod["status"]["phase"]
    ending = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": timestamp}}
    return with_status(ending, phase, ready=False, restarts={})


def with_annotation(body: Body, name: str, value: str | None) -> Body:
    """Sets an annotation, or takes it away (None)."""
    annotations: dict[str, Any] = {**(body["metadata"].get("annotations") or {}), name: value}
    kept = {key: one for key, one in annotations.items() if one is not None}
    return {**body, "metadata": {**body["metadata"], "annotations": kept}}


def with_labels(body: Body, changes: Mapping[str, str | None]) -> Body:
    labels: dict[str, Any] = {**(body["metadata"].get("labels") or {}), **changes}
    return {**body, "metadata": {**body["metadata"], "labels": {name: value for name, value in labels.items() if value is not None}}}
