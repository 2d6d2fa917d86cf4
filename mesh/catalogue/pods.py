"""From a pod to the instance that it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern

from mesh.catalogue.instances import Instance, Nature
from mesh.catalogue.sharing import Sharing
from mesh.enrolment import REDIRECTED, REDIRECTION_ANNOTATION
from mesh.kubernetes import Pod
from mesh.model import Workload
from mesh.settings import MeshSettings

# The first label that a pod has. Source: Istio, "Canonical Service".
_CANONICAL_NAME_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_CANONICAL_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_TEMPLATE_HASH_LABEL = "pod-template-hash"


def pod_uid(settings: MeshSettings, namespace: str, name: str) -> str:
    return f"{settings.cluster_id}//Pod/{namespace}/{name}"


def canonical_name(labels: Mapping[str, str], default: str) -> str:
    return intern(_first_label(labels, _CANONICAL_NAME_LABELS, default))


def canonical_revision(labels: Mapping[str, str]) -> str:
    return intern(_first_label(labels, _CANONICAL_REVISION_LABELS, "latest"))


@dataclass(frozen=True, slots=True)
class PodReader:
    """Reads pods; what many have in common is kept once."""

    settings: MeshSettings
    sharing: Sharing = field(default_factory=Sharing)

    def read(self, pod: Pod) -> Instance | None:
        """Returns None for a pod that is not scheduled, or has finished.

        A pod is a workload from when it is scheduled, before it has addresses, so that its node can have a certificate for it.
        """
        if not pod.spec.node_name or pod.finished:
            return None
        metadata, settings = pod.metadata, self.settings
        labels, controller = metadata.labels, intern(_controller_name(pod))
        workload = Workload(
            uid=pod_uid(settings, metadata.namespace, metadata.name),
            name=metadata.name,
            namespace=intern(metadata.namespace),
            service_account=intern(pod.spec.service_account_name),
            trust_domain=settings.trust_domain,
            addresses=pod.addresses,
            node=intern(pod.spec.node_name),
            network=settings.network,
            cluster=settings.cluster_id,
            host_network=pod.spec.host_network,
            healthy=pod.ready,
            canonical_name=canonical_name(labels, controller),
            canonical_revision=canonical_revision(labels),
            workload_name=controller,
            services=_NO_SERVICES,
        )
        redirected = not pod.spec.host_network and metadata.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTED
        return Instance(workload, Nature.POD, self.sharing.mapping(labels), self.sharing.mapping(_named_ports(pod)), redirected)


_NO_SERVICES: Mapping[str, tuple[()]] = {}


def _named_ports(pod: Pod) -> dict[str, int]:
    ports = (port for container in pod.spec.containers for port in container.ports)
    return {port.name: port.container_port for port in ports if port.protocol == "TCP" and port.name}


def _controller_name(pod: Pod) -> str:
    """Returns the name of what made the pod: of the Deployment rather than of its ReplicaSet; the pod's own where nothing did."""
    owner = next((one for one in pod.metadata.owner_references if one.controller), None)
    if owner is None:
        return pod.metadata.name
    suffix = "-" + pod.metadata.labels.get(_TEMPLATE_HASH_LABEL, "")
    return owner.name.removesuffix(suffix) if owner.kind == "ReplicaSet" and len(suffix) > 1 else owner.name


def _first_label(labels: Mapping[str, str], keys: Iterable[str], default: str) -> str:
    return next((labels[key] for key in keys if labels.get(key)), default)
