"""Whether a pod is to be in the mesh."""

from mesh.kubernetes import Namespace, Pod

# Source: Istio, ambient mode, "Add workloads to the mesh".
MODE_LABEL = "istio.io/dataplane-mode"
AMBIENT = "ambient"
# Source: the ambient ecosystem. Written on the pod by its node's agent, once capture is verified.
REDIRECTION_ANNOTATION = "ambient.istio.io/redirection"
REDIRECTED = "enabled"


def enrolled(pod: Pod, namespace: Namespace | None) -> bool:
    """Tells whether the labels ask for the pod to be captured.

    The pod's own label wins over its namespace's. A pod on the node's network is never enrolled: capture would take the node's traffic.
    Args:
        namespace: None when it is not known; then the pod's own label decides alone.
    """
    if pod.spec.host_network:
        return False
    inherited = namespace.metadata.labels.get(MODE_LABEL) if namespace else None
    return pod.metadata.labels.get(MODE_LABEL, inherited) == AMBIENT
