"""From a Kubernetes Service to what it offers."""

from collections.abc import Iterable
from itertools import islice

from mesh import kubernetes
from mesh.catalogue.balancing import load_balancing
from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.offers import Offer, OfferedPort
from mesh.limits import MAX_PORTS
from mesh.model import PortMapping, Service
from mesh.settings import MeshSettings


def read_service(key: ObjectKey, service: kubernetes.Service, settings: MeshSettings) -> Offer | None:
    """Returns None for an ExternalName: it has no address that could be routed by, only a name that DNS answers with another name.

    Whoever connects to it asks DNS, gets an address, and reaches it like any other address: in the mesh if that is where it is.
    """
    if service.spec.type == "ExternalName":
        return None
    ports = tuple(OfferedPort(port.port, port.name, port.target) for port in islice(_tcp_ports(service), MAX_PORTS))
    name, namespace = service.metadata.name, service.metadata.namespace
    offered = Service(
        name=name,
        namespace=namespace,
        hostname=f"{name}.{namespace}.svc.{settings.cluster_domain}",
        addresses=service.addresses,
        ports=tuple(PortMapping(port.number, _default_target(service, port)) for port in ports),
        network=settings.network,
        load_balancing=load_balancing(service),
    )
    return Offer(key, (offered,), service.spec.selector, ports)


def _default_target(service: kubernetes.Service, port: OfferedPort) -> int:
    """Returns the port of an endpoint that does not say its own; 0 where each does: a name, or a number that a slice gives."""
    return port.target if isinstance(port.target, int) and service.spec.selector else 0


def _tcp_ports(service: kubernetes.Service) -> Iterable[kubernetes.ServicePort]:
    return (port for port in service.spec.ports if port.protocol == "TCP")
