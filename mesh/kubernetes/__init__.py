"""The Kubernetes objects that the mesh reads, as far as it reads them. Whatever else an object carries is ignored."""

from mesh.kubernetes.core import (
    Container,
    ContainerPort,
    EnvVar,
    Namespace,
    NamespaceMetadata,
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
from mesh.kubernetes.fields import Metadata, OwnerReference
from mesh.kubernetes.security import AuthorizationPolicy, PeerAuthentication

__all__ = [
    "AuthorizationPolicy",
    "Container",
    "ContainerPort",
    "EnvVar",
    "Metadata",
    "Namespace",
    "NamespaceMetadata",
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
    "ServiceMetadata",
    "ServicePort",
    "ServiceSpec",
    "qualified_name",
]

Object = AuthorizationPolicy | PeerAuthentication | Namespace | Pod | Service | ServiceAccount


def qualified_name(value: Object) -> str:
    """Returns "namespace/name"; of a namespace its name."""
    return value.metadata.name if isinstance(value, Namespace) else f"{value.metadata.namespace}/{value.metadata.name}"
