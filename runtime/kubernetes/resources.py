"""Where the objects of a kind are in the API of Kubernetes. No I/O."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One version of one kind.

    Args:
        group: "" is the core group.
        plural: its name in paths, and in RBAC.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """Names it as `kubectl auth can-i` does: "pods", "serviceentries.networking.istio.io"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Returns the path of one object, or of a collection where `name` is ""; of all namespaces where `namespace` is "".

        Source: Kubernetes, "API Concepts", resource URIs.
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = ("namespaces", namespace) if namespace and self.namespaced else ()
        return "/".join((root, *(quote(part, safe="") for part in (*scope, self.plural, name, subresource) if part)))


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)


def istio(group: str, plural: str, kind: str, *versions: str) -> tuple[Resource, ...]:
    """Names a kind of Istio's in the versions in which a cluster may have it, the preferred one first; they are read alike."""
    return tuple(Resource(f"{group}.istio.io", version, plural, kind) for version in versions)


SERVICE_ENTRIES = istio("networking", "serviceentries", "ServiceEntry", "v1", "v1beta1", "v1alpha3")
WORKLOAD_ENTRIES = istio("networking", "workloadentries", "WorkloadEntry", "v1", "v1beta1", "v1alpha3")
AUTHORIZATION_POLICIES = istio("security", "authorizationpolicies", "AuthorizationPolicy", "v1", "v1beta1")
PEER_AUTHENTICATIONS = istio("security", "peerauthentications", "PeerAuthentication", "v1", "v1beta1")
