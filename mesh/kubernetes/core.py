"""The objects of Kubernetes' core API that the mesh reads: namespaces, nodes, service accounts, pods and services."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator, StrictBool, StrictInt, StrictStr

from mesh.kubernetes.fields import (
    Address,
    ClusterAddress,
    KubernetesObject,
    Label,
    Labels,
    Metadata,
    OptionalSubdomain,
    Port,
    Protocol,
    Subdomain,
    at_least_one,
    read_target_port,
    shared,
)
from mesh.model import IPAddress


class NamespaceMetadata(Metadata):
    name: Label


class Namespace(KubernetesObject):
    metadata: NamespaceMetadata


class NodeMetadata(Metadata):
    """A node is in no namespace."""

    namespace: Literal[""] = ""


class Node(KubernetesObject):
    metadata: NodeMetadata


class ServiceAccount(KubernetesObject):
    metadata: Metadata


class ContainerPort(KubernetesObject):
    container_port: Port
    name: StrictStr = ""
    protocol: Protocol = "TCP"


class EnvVar(KubernetesObject):
    name: Annotated[StrictStr, Field(min_length=1)]
    value: StrictStr = ""


class Container(KubernetesObject):
    name: Label
    image: StrictStr = ""
    command: tuple[StrictStr, ...] = ()
    args: tuple[StrictStr, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(KubernetesObject):
    """node_name is "" while the pod is not scheduled."""

    containers: Annotated[tuple[Container, ...], AfterValidator(at_least_one), AfterValidator(shared)]
    node_name: OptionalSubdomain = ""
    service_account_name: Subdomain = "default"
    host_network: StrictBool = False


class PodCondition(KubernetesObject):
    type: StrictStr
    status: StrictStr


class PodIP(KubernetesObject):
    ip: Address


class PodStatus(KubernetesObject):
    pod_ip: Annotated[Address | None, Field(alias="podIP")] = None
    pod_ips: Annotated[tuple[PodIP, ...], Field(alias="podIPs")] = ()
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] = "Pending"
    conditions: Annotated[tuple[PodCondition, ...], AfterValidator(shared)] = ()


class Pod(KubernetesObject):
    metadata: Metadata
    spec: PodSpec
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Returns the pod's addresses, its primary one first; empty while it has none."""
        if self.status.pod_ips:
            return tuple(dict.fromkeys(one.ip for one in self.status.pod_ips))
        return (self.status.pod_ip,) if self.status.pod_ip is not None else ()

    @property
    def finished(self) -> bool:
        """Whether its processes have ended for good; its addresses may then belong to another pod."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def ready(self) -> bool:
        """Whether services may send it connections: running, not being deleted, and its Ready condition is true."""
        ready = any(one.type == "Ready" and one.status == "True" for one in self.status.conditions)
        return ready and self.status.phase == "Running" and self.metadata.deletion_timestamp is None


class ServicePort(KubernetesObject):
    port: Port
    name: StrictStr = ""
    target_port: Annotated[int | str | None, PlainValidator(read_target_port)] = None
    protocol: Protocol = "TCP"

    @property
    def target(self) -> int | str:
        """Returns the number or the name of the container's port; it is the service's own number unless it says otherwise."""
        return self.port if self.target_port is None else self.target_port


class ClientIPConfig(KubernetesObject):
    """Kubernetes' own default is three hours, and a day the most it takes."""

    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=86400)] = 10800


class SessionAffinityConfig(KubernetesObject):
    client_ip: Annotated[ClientIPConfig, Field(alias="clientIP")] = ClientIPConfig()


class ServiceSpec(KubernetesObject):
    selector: Labels = Field(default_factory=dict)
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: Annotated[ClusterAddress, Field(alias="clusterIP")] = None
    cluster_ips: Annotated[tuple[ClusterAddress, ...], Field(alias="clusterIPs")] = ()
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] = ()
    publish_not_ready_addresses: StrictBool = False
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    traffic_distribution: StrictStr = ""
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: SessionAffinityConfig = SessionAffinityConfig()


class ServiceMetadata(Metadata):
    name: Label


class Service(KubernetesObject):
    metadata: ServiceMetadata
    spec: ServiceSpec = ServiceSpec()

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Returns the virtual IPs; empty for a headless service, or one that has none yet."""
        listed = self.spec.cluster_ips or (self.spec.cluster_ip,)
        return tuple(dict.fromkeys(ip for ip in listed if ip is not None))
