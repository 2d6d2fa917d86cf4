"""What holds for the whole mesh and is known before anything else."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Args:
    trust_domain: of every identity that is issued.
    trust_domain_aliases: older domains, whose identities are accepted and match policies as if they were of `trust_domain`.
    cluster_domain: services are "<name>.<namespace>.svc.<cluster domain>".
    root_namespace: policies of this namespace without a selector hold for the whole mesh.
    """

    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    cluster_id: str = "Kubernetes"
    cluster_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    network: str = ""
