"""What an instance is in the mesh: a workload with its services, its policies, its place and the way to reach it."""

from dataclasses import replace

from mesh.catalogue.books import Books
from mesh.catalogue.endpoints import Listed
from mesh.catalogue.instances import Instance, Nature
from mesh.catalogue.offers import Offer
from mesh.enrolment import AMBIENT, MODE_LABEL
from mesh.limits import MAX_POLICIES, MAX_SERVICES
from mesh.model import Locality, PortMapping, TunnelProtocol, Workload
from mesh.policy.model import Authorization

# Where more policies select a workload than a node takes, it lists this name of the root namespace instead. No policy can have it, and what
# is listed and not held denies.
TOO_MANY_POLICIES = f"more_than_{MAX_POLICIES}_policies"

_Services = dict[str, tuple[PortMapping, ...]]


def render(books: Books, instance: Instance, mutual_tls: Authorization | None) -> Workload:
    """Renders one instance from what the books hold now.

    Args:
        mutual_tls: the policy by which it refuses plaintext, as `mutual_tls_of` returns it.
    """
    workload = instance.workload
    return replace(
        workload,
        tunnel_protocol=TunnelProtocol.HBONE if _takes_tunnels(books, instance) else TunnelProtocol.NONE,
        services=books.sharing.mapping(_services(books, workload.uid, instance)),
        locality=_locality(books, workload),
        policies=books.sharing.value(_policies(books, instance, mutual_tls)),
    )


def _takes_tunnels(books: Books, instance: Instance) -> bool:
    """A machine with the address of a pod is none: whoever wrote that would have the pod dialled with a tunnel that it does not take."""
    workload = instance.workload
    mode = instance.labels.get(MODE_LABEL, books.modes.get(workload.namespace))
    if not instance.redirected or mode != AMBIENT:
        return False
    return instance.nature is Nature.POD or not any(ip in books.instances.pod_addresses for ip in workload.addresses)


def mutual_tls_of(books: Books, instance: Instance) -> Authorization | None:
    """Returns the policy by which an instance refuses plaintext; None: it takes plaintext, or decides nothing about it."""
    if instance.nature is Nature.ADDRESS:
        return None
    return books.mutual_tls.policy_for(instance.workload.namespace, instance.labels)


def _locality(books: Books, workload: Workload) -> Locality:
    """The node's word goes first: it has all parts, where an endpoint has only a zone."""
    return books.localities.get(workload.node, workload.locality) if workload.node else workload.locality


def _policies(books: Books, instance: Instance, mutual_tls: Authorization | None) -> tuple[str, ...]:
    if instance.nature is Nature.ADDRESS:
        return ()
    selecting = sorted(books.policies.selecting(instance.workload.namespace, instance.labels))
    listed = (*selecting, mutual_tls.key) if mutual_tls is not None else tuple(selecting)
    return listed if len(listed) <= MAX_POLICIES else (f"{books.settings.root_namespace}/{TOO_MANY_POLICIES}",)


def _services(books: Books, uid: str, instance: Instance) -> _Services:
    services: _Services = {}
    for origin in books.offers.selectors.selecting(instance.workload.namespace, instance.labels):
        offer = books.offers.by_origin[origin]
        ports = books.sharing.value(offer.ports_on(instance))
        services.update(dict.fromkeys((service.key for service in books.offers.owned_by(offer)), ports))
    for origin, listed in books.endpoints.naming(uid):
        if (listing := books.offers.by_origin.get(origin)) is not None:
            _add_listed(books, listing, listed, services)
    return services if len(services) <= MAX_SERVICES else dict(sorted(services.items())[:MAX_SERVICES])


def _add_listed(books: Books, offer: Offer, listed: Listed, services: _Services) -> None:
    """Adds the ports of an endpoint that a list names; several lists may each have some ports of one service."""
    for service in books.offers.owned_by(offer):
        if listed.hostname in ("", service.hostname):
            known = services.get(service.key, ())
            numbers = {mapping.service_port for mapping in known}
            services[service.key] = (*known, *(mapping for mapping in listed.ports if mapping.service_port not in numbers))
