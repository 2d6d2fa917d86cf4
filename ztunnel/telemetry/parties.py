"""From the model to what is said of it: parties, services, and the baggage header. Pure."""

from collections.abc import Callable
from urllib.parse import quote

from mesh.model import Service, Workload
from ztunnel.telemetry.labels import Party, ServiceName


def party(workload: Workload, identity: str | None = None) -> Party:
    """Returns a workload as one end of a connection.

    Args:
        identity: instead of its own: "" where it has proven none.
    """
    return Party(
        pod=workload.name,
        workload=workload.workload_name or workload.name,
        namespace=workload.namespace,
        canonical_service=workload.canonical_name,
        canonical_revision=workload.canonical_revision,
        cluster=workload.cluster,
        identity=str(workload.identity) if identity is None else identity,
    )


def service_name(service: Service | None) -> ServiceName:
    return ServiceName(service.hostname, service.name, service.namespace) if service else ServiceName()


def inbound_service(workload: Workload, port: int, find: Callable[[str], Service | None]) -> ServiceName:
    """Returns the service that a port of a workload backs, where there is just one: the connection does not say which was asked for."""
    keys = [key for key, mappings in workload.services.items() if any(mapping.target_port == port for mapping in mappings)]
    if len(keys) != 1:
        return ServiceName()
    namespace, _, hostname = keys[0].partition("/")
    service = find(keys[0])
    # A service of the cluster is called as its hostname begins.
    return service_name(service) if service else ServiceName(hostname, hostname.partition(".")[0], namespace)


def baggage(source: Workload) -> str:
    """Returns the header that tells a peer's telemetry who calls.

    Source: W3C Baggage section 3.3 (values are percent-encoded); the keys are the ecosystem's.
    """
    members = (
        ("k8s.cluster.name", source.cluster),
        ("k8s.namespace.name", source.namespace),
        ("k8s.deployment.name", source.workload_name or source.name),
        ("service.name", source.canonical_name),
        ("service.version", source.canonical_revision),
    )
    return ",".join(f"{key}={quote(value, safe='')}" for key, value in members)
