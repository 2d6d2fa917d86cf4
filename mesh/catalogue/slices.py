"""From EndpointSlices to the endpoints of services without selectors.

Slices of services that have a selector say again what the pods say themselves (which match, their addresses, whether they are ready),
only later: Kubernetes makes them from the pods. They are kept, because a service can lose its selector, and not used.
"""

from dataclasses import dataclass, field

from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.endpoints import EndpointList, Listed
from mesh.catalogue.instances import Instance, Nature
from mesh.catalogue.offers import Offer
from mesh.catalogue.pods import pod_uid
from mesh.kubernetes import Endpoint, EndpointSlice
from mesh.model import IPAddress, Locality, PortMapping, Workload
from mesh.settings import MeshSettings

# Source: Kubernetes, "EndpointSlices", ownership.
_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(slots=True)
class SliceBook:
    """The slices, by key and by service."""

    by_key: dict[ObjectKey, EndpointSlice] = field(default_factory=dict)
    of_service: dict[ObjectKey, set[ObjectKey]] = field(default_factory=dict)

    def put(self, key: ObjectKey, after: EndpointSlice | None) -> None:
        """Takes in a slice, or forgets it."""
        before = self.by_key.pop(key, None)
        if before is not None and (service := _service_of(before)) is not None:
            self.of_service[service].remove(key)
            if not self.of_service[service]:
                del self.of_service[service]
        if after is not None:
            self.by_key[key] = after
            if (service := _service_of(after)) is not None:
                self.of_service.setdefault(service, set()).add(key)

    def service_of(self, key: ObjectKey) -> ObjectKey | None:
        found = self.by_key.get(key)
        return _service_of(found) if found is not None else None


def _service_of(slice_: EndpointSlice) -> ObjectKey | None:
    name = slice_.metadata.labels.get(_SERVICE_LABEL)
    return ObjectKey("Service", slice_.metadata.namespace, name) if name else None


def read_slice(slice_: EndpointSlice, offer: Offer, settings: MeshSettings) -> EndpointList:
    """Reads the endpoints that a slice gives to a service without a selector.

    An endpoint that names a pod of its namespace is that pod, healthy when the pod is, and left out when the slice says that it is not
    ready. Any other is a workload of its own. A name where an address should be (FQDN, which Kubernetes gives no meaning) is left out.
    """
    ports, endpoints = _ports(slice_, offer), dict[str, Listed]()
    for endpoint in slice_.endpoints:
        ready, pod = endpoint.conditions.ready is not False, _pod_of(endpoint, slice_, settings)
        ip = endpoint.addresses[0] if endpoint.addresses else ""
        if pod is not None:
            if ready:
                endpoints[pod] = Listed(ports)
        elif not isinstance(ip, str):
            instance = _instance(slice_, endpoint, ip, ready, settings)
            endpoints.setdefault(instance.workload.uid, Listed(ports, instance))
    return EndpointList(offer.origin, endpoints)


def _ports(slice_: EndpointSlice, offer: Offer) -> tuple[PortMapping, ...]:
    """Returns the service's ports that the slice has, by their names. A slice port without a number stands for all numbers."""
    numbers = {port.name: port.port or 0 for port in slice_.ports if port.protocol == "TCP"}
    return tuple(PortMapping(port.number, numbers[port.name] or port.number) for port in offer.ports if port.name in numbers)


def _pod_of(endpoint: Endpoint, slice_: EndpointSlice, settings: MeshSettings) -> str | None:
    """Returns the uid of the pod that an endpoint names. One of another namespace is nobody's to name."""
    target, namespace = endpoint.target_ref, slice_.metadata.namespace
    if target is None or target.kind != "Pod" or target.namespace not in ("", namespace):
        return None
    return pod_uid(settings, namespace, target.name)


def _instance(slice_: EndpointSlice, endpoint: Endpoint, ip: IPAddress, ready: bool, settings: MeshSettings) -> Instance:
    metadata = slice_.metadata
    service = metadata.labels[_SERVICE_LABEL]
    workload = Workload(
        uid=f"{settings.cluster_id}/discovery.k8s.io/EndpointSlice/{metadata.namespace}/{metadata.name}/{ip}",
        name=metadata.name,
        namespace=metadata.namespace,
        service_account="default",
        trust_domain=settings.trust_domain,
        addresses=(ip,),
        node=endpoint.node_name,
        network=settings.network,
        cluster=settings.cluster_id,
        healthy=ready,
        canonical_name=service,
        workload_name=metadata.name,
        locality=Locality(zone=endpoint.zone),
    )
    return Instance(workload, Nature.ADDRESS)
