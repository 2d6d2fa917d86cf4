"""The Kubernetes objects that the mesh reads, as far as it reads them. Whatever else an object carries is ignored."""

from mesh.kubernetes.core import (
    Container,
    ContainerPort,
    EnvVar,
    Namespace,
    NamespaceMetadata,
    Node,
    NodeMetadata,
    Pod,
    PodCondition,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServiceAccount,
    ServiceMetadata,
    ServicePort,
    ServiceSpec,
)
from mesh.kubernetes.discovery import Endpoint, EndpointSlice
from mesh.kubernetes.fields import Metadata, OwnerReference
from mesh.kubernetes.networking import ServiceEntry, WorkloadEntry, WorkloadEntrySpec
from mesh.kubernetes.security import AuthorizationPolicy, PeerAuthentication

__all__ = [
    "AuthorizationPolicy",
    "Container",
    "ContainerPort",
    "Endpoint",
    "EndpointSlice",
    "EnvVar",
    "Metadata",
    "Namespace",
    "NamespaceMetadata",
    "Node",
    "NodeMetadata",
    "Object",
    "OwnerReference",
    "PeerAuthentication",
    "Pod",
    "PodCondition",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "Service",
    "ServiceAccount",
    "ServiceEntry",
    "ServiceMetadata",
    "ServicePort",
    "ServiceSpec",
    "WorkloadEntry",
    "WorkloadEntrySpec",
    "qualified_name",
]

Object = (
    AuthorizationPolicy
    | EndpointSlice
    | Namespace
    | Node
    | PeerAuthentication
    | Pod
    | Service
    | ServiceAccount
    | ServiceEntry
    | WorkloadEntry
)


def qualified_name(value: Object) -> str:
    """Returns "namespace/name"; of what is in no namespace its name."""
    return value.metadata.name if isinstance(value, Namespace | Node) else f"{value.metadata.namespace}/{value.metadata.name}"
