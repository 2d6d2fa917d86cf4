"""Which endpoints a service prefers, from what its object says."""

from collections.abc import Mapping

from mesh import kubernetes
from mesh.model import BalancingMode, LoadBalancing, RoutingScope

# Source: Istio, "networking.istio.io/traffic-distribution"; it is for clusters whose Services have no such field yet.
_DISTRIBUTION_ANNOTATION = "networking.istio.io/traffic-distribution"
_SAME_ZONE = (RoutingScope.NETWORK, RoutingScope.REGION, RoutingScope.ZONE)
_SAME_NODE = (*_SAME_ZONE, RoutingScope.SUBZONE, RoutingScope.NODE)
# Source: Kubernetes, "Traffic distribution": PreferClose is the older name of PreferSameZone. What is not known here prefers nothing.
_PREFERENCES: Mapping[str, tuple[RoutingScope, ...]] = {
    "preferclose": _SAME_ZONE,
    "prefersamezone": _SAME_ZONE,
    "prefersamenode": _SAME_NODE,
}


def preferred(distribution: str, annotations: Mapping[str, str]) -> LoadBalancing:
    """Reads a traffic distribution.

    Args:
        distribution: the object's own field; what it knows wins over the annotation.
    """
    for value in (distribution, annotations.get(_DISTRIBUTION_ANNOTATION, "")):
        preference = _PREFERENCES.get(value.lower())
        if preference is not None:
            return LoadBalancing(preference, BalancingMode.FAILOVER)
    return LoadBalancing()


def load_balancing(service: kubernetes.Service) -> LoadBalancing:
    """Reads what a Service says. internalTrafficPolicy Local wins over a distribution: it leaves no choice."""
    spec = service.spec
    if spec.internal_traffic_policy == "Local":
        chosen = LoadBalancing((RoutingScope.NODE,), BalancingMode.STRICT)
    else:
        chosen = preferred(spec.traffic_distribution, service.metadata.annotations)
    affinity_s = spec.session_affinity_config.client_ip.timeout_seconds if spec.session_affinity == "ClientIP" else 0
    return LoadBalancing(chosen.preference, chosen.mode, spec.publish_not_ready_addresses, affinity_s)
