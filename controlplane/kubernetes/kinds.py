"""The kinds that the control plane follows: another one is another row. No I/O."""

from dataclasses import dataclass

from mesh.kubernetes import (
    AuthorizationPolicy,
    EndpointSlice,
    Namespace,
    Node,
    Object,
    PeerAuthentication,
    Pod,
    Service,
    ServiceAccount,
    ServiceEntry,
    WorkloadEntry,
)
from runtime.kubernetes import resources
from runtime.kubernetes.following import Following, Selection
from runtime.kubernetes.resources import Resource


@dataclass(frozen=True, slots=True)
class Kind:
    """Args:
    resources: the versions in which a cluster may have it, the preferred one first.
    optional: its CRD may not be installed; then there are no such objects.
    metadata_only: nothing else of it is read: a node's status alone has some 10 KB, and changes every few minutes.
    has_status: we write conditions into its status.
    """

    model: type[Object]
    resources: tuple[Resource, ...]
    optional: bool = False
    metadata_only: bool = False
    has_status: bool = False

    def following(self) -> Following:
        return Following(self.resources, Selection(metadata_only=self.metadata_only), self.optional)


KINDS = (
    Kind(Namespace, (resources.NAMESPACES,), metadata_only=True),
    Kind(Node, (resources.NODES,), metadata_only=True),
    Kind(ServiceAccount, (resources.SERVICE_ACCOUNTS,), metadata_only=True),
    Kind(Pod, (resources.PODS,)),
    Kind(Service, (resources.SERVICES,)),
    Kind(EndpointSlice, (resources.ENDPOINT_SLICES,)),
    Kind(ServiceEntry, resources.SERVICE_ENTRIES, optional=True, has_status=True),
    Kind(WorkloadEntry, resources.WORKLOAD_ENTRIES, optional=True),
    Kind(AuthorizationPolicy, resources.AUTHORIZATION_POLICIES, optional=True, has_status=True),
    Kind(PeerAuthentication, resources.PEER_AUTHENTICATIONS, optional=True, has_status=True),
)
