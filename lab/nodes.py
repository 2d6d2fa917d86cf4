"""The lab's nodes as the objects that Kubernetes has for them; the mesh reads in them where a node stands."""

from lab.addresses import node_addresses
from lab.documents import Body

# Source: Kubernetes, "Well-Known Labels, Annotations and Taints".
HOSTNAME_LABEL = "kubernetes.io/hostname"
ZONE_LABEL = "topology.kubernetes.io/zone"


def node_manifest(name: str) -> Body:
    """A node as nobody described it: it has neither region nor zone."""
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def resolve_node(body: Body) -> Body:
    """Fills in what a kubelet registers: the label with the node's name, its addresses, and that it is ready."""
    metadata = body["metadata"]
    name = metadata["name"]
    return {
        **body,
        "metadata": {**metadata, "labels": {HOSTNAME_LABEL: name, **(metadata.get("labels") or {})}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ip} for ip in node_addresses(name)],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
