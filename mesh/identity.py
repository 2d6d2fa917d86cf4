"""Who a workload is: the SPIFFE identity of a Kubernetes service account."""

from dataclasses import dataclass

from mesh.errors import CredentialError


@dataclass(frozen=True, slots=True)
class Identity:
    """spiffe://<trust domain>/ns/<namespace>/sa/<service account>

    Source: SPIFFE-ID standard, section 2; Istio's and Kubernetes' layout of the path.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def parse_identity(uri: str) -> Identity:
    """Reads a SPIFFE URI of a service account.

    Raises:
        CredentialError: it is not of the form that Identity prints.
    """
    prefix, _, rest = uri.partition("://")
    parts = rest.split("/")
    if prefix != "spiffe" or len(parts) != 5 or (parts[1], parts[3]) != ("ns", "sa") or not all(parts):
        raise CredentialError(f"not a SPIFFE identity of a service account: {uri[:256]!r}")
    return Identity(parts[0], parts[2], parts[4])
