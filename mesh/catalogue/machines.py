"""From a WorkloadEntry, or an endpoint that is written like one, to an instance."""

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.catalogue.instances import Instance, Nature
from mesh.catalogue.pods import canonical_name, canonical_revision
from mesh.enrolment import REDIRECTED, REDIRECTION_ANNOTATION
from mesh.kubernetes import Metadata, WorkloadEntry, WorkloadEntrySpec
from mesh.model import Locality, Workload
from mesh.settings import MeshSettings

_API = "networking.istio.io"


@dataclass(frozen=True, slots=True)
class EntryName:
    """Names an entry, and with `part` one of the endpoints in it."""

    kind: str
    namespace: str
    name: str
    part: str = ""

    def uid(self, settings: MeshSettings) -> str:
        path = f"{settings.cluster_id}/{_API}/{self.kind}/{self.namespace}/{self.name}"
        return f"{path}/{self.part}" if self.part else path


def read_workload_entry(entry: WorkloadEntry, settings: MeshSettings) -> Instance:
    """Its labels are those of its metadata and of its spec, which wins. It is reached by tunnel on the same terms as a pod."""
    metadata = entry.metadata
    labels = {**metadata.labels, **entry.spec.labels}
    name = EntryName("WorkloadEntry", metadata.namespace, metadata.name)
    return Instance(
        workload=_workload(name, entry.spec, labels, settings),
        nature=Nature.MACHINE,
        labels=labels,
        named_ports=entry.spec.ports,
        redirected=_redirected(metadata),
    )


def read_address(name: EntryName, spec: WorkloadEntrySpec, settings: MeshSettings) -> Instance:
    """Reads an endpoint of a ServiceEntry. There is no tunnel to it: nobody has said that it takes any."""
    return Instance(_workload(name, spec, spec.labels, settings), Nature.ADDRESS, named_ports=spec.ports)


def _redirected(metadata: Metadata) -> bool:
    return REDIRECTED in (metadata.annotations.get(REDIRECTION_ANNOTATION), metadata.labels.get(REDIRECTION_ANNOTATION))


def _workload(name: EntryName, spec: WorkloadEntrySpec, labels: Mapping[str, str], settings: MeshSettings) -> Workload:
    hostname = spec.address if isinstance(spec.address, str) else ""
    return Workload(
        uid=name.uid(settings),
        name=name.name,
        namespace=name.namespace,
        service_account=spec.service_account,
        trust_domain=settings.trust_domain,
        addresses=() if isinstance(spec.address, str) else (spec.address,),
        node="",
        network=spec.network or settings.network,
        cluster=settings.cluster_id,
        canonical_name=canonical_name(labels, name.name),
        canonical_revision=canonical_revision(labels),
        workload_name=name.name,
        hostname=hostname,
        locality=Locality(*spec.locality.split("/")) if spec.locality else Locality(),
        # A weight that was not given is that of everybody.
        capacity=spec.weight or 1,
    )
