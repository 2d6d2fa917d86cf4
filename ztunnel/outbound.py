"""What becomes of a connection that a pod of this node opens: a tunnel, a pod beside it, or plain TCP. Pure."""

from dataclasses import dataclass
from zlib import crc32

from mesh.balancing import turns
from mesh.errors import ResolutionError
from mesh.model import Service, SocketAddress, TunnelProtocol, Workload
from mesh.routing import Endpoint, Passthrough, Route, resolve
from ztunnel.admission import admit
from ztunnel.engine.interface import Action, Cause, Decision, Direct, Direction, Local, Reject, Tunnel
from ztunnel.pods import LocalPod
from ztunnel.surroundings import OWN_PORTS, Surroundings, address_like, same_identities, workload_of
from ztunnel.telemetry.labels import Labels, Party, ServiceName
from ztunnel.telemetry.parties import baggage, party, service_name
from ztunnel.verdict import Verdict, reject

HBONE_PORT = int(Direction.INBOUND_HBONE)
# Each choice has a report of its own (1 KB). A service with more endpoints has others of them on other pods.
MAX_CHOICES = 256


@dataclass(frozen=True, slots=True)
class _Way:
    """How one endpoint is reached.

    Args:
        lasting: it holds until something changes.
    """

    action: Action
    would_deny: tuple[str, ...] = ()
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class _Opener:
    """The pod that opens the connection; what all its ways have in common is made once.

    Args:
        headers: of the CONNECT.
    """

    pod: LocalPod
    workload: Workload
    party: Party
    headers: tuple[tuple[str, str], ...]


def decide_outbound(target: SocketAddress, pod: LocalPod, around: Surroundings) -> Verdict:
    source = workload_of(pod, around)
    stranger = Labels("source", party(source), Party())
    if target.port in OWN_PORTS and (target.ip in source.addresses or target.ip.is_loopback or target.ip.is_unspecified):
        return reject(around, stranger, 400, Cause.BAD_AUTHORITY, f"{target} is a port of this proxy: the connection would come back")
    try:
        found = resolve(around.view, source, source.network, target, around.addresses_of)
    except ResolutionError as error:
        # A change of the service, its workloads or their names drops what is cached.
        return reject(around, _service_labels(source, target, around), 503, Cause.NO_UPSTREAM, str(error), cache=True)
    if isinstance(found, Passthrough):
        labels = Labels("source", party(source), Party(), service_name(found.service))
        return Verdict(Decision((Direct(_endpoint(target), keep_source=False, report=around.report(labels)),)))
    return _spread(found, _Opener(pod, source, stranger.source, (("baggage", baggage(source)),)), around)


def _spread(route: Route, opener: _Opener, around: Surroundings) -> Verdict:
    """Gives the endpoints their turns, beginning at a place that differs from pod to pod and from decision to decision."""
    service = service_name(route.service)
    weights = [endpoint.weight for endpoint in route.endpoints]
    order = turns(weights, crc32(opener.pod.workload_uid.encode()), around.turn, MAX_CHOICES)
    ways = {index: _towards(route.endpoints[index], opener, service, route.service, around) for index in dict.fromkeys(order)}
    would_deny = tuple(sorted({policy for way in ways.values() for policy in way.would_deny}))
    choices = tuple(ways[index].action for index in order)
    return Verdict(Decision(choices, cache=all(way.lasting for way in ways.values())), would_deny)


def _towards(endpoint: Endpoint, opener: _Opener, name: ServiceName, service: Service | None, around: Surroundings) -> _Way:
    """Returns how one endpoint is reached: in this node, in a tunnel, or, outside the mesh, in plain TCP."""
    workload, address = endpoint.workload, endpoint.address
    inside = workload.tunnel_protocol is TunnelProtocol.HBONE
    if not inside:
        labels = Labels("source", opener.party, party(workload), name)
        return _Way(Direct(_endpoint(address), keep_source=False, report=around.report(labels)))
    authority, other = str(address), party(workload)
    labels = Labels("source", opener.party, other, name, authority, secure=True)
    local = around.pods.by_workload(workload.uid) if workload.node == around.node.name else None
    if local is not None:
        return _beside(endpoint, opener, local, labels, around)
    tunnel = Tunnel(
        next_hop=(str(address.ip), HBONE_PORT),
        authority=authority,
        headers=opener.headers,
        source_identity=opener.party.identity,
        peer_identities=_expected(other.identity, workload, service, around),
        report=around.report(labels),
    )
    return _Way(tunnel)


def _expected(own: str, workload: Workload, service: Service | None, around: Surroundings) -> tuple[str, ...]:
    """Returns the identities of which the peer must prove one: the workload's, by any name, or one that the service says."""
    allowed = service.subject_alt_names if service else ()
    if not allowed and not around.node.trust_domain_aliases:
        return (own,)
    return tuple(dict.fromkeys((*map(str, same_identities(workload.identity, around.node)), *allowed)))


def _beside(endpoint: Endpoint, opener: _Opener, local: LocalPod, opening: Labels, around: Surroundings) -> _Way:
    """Both pods are on this node: what the other node's ztunnel would decide is decided here, and a refusal is the accepting side's."""
    address = endpoint.address
    accepting = Labels("destination", opening.source, opening.destination, opening.service, opening.hbone_address, secure=True)
    if address.port in OWN_PORTS:
        refusal = Reject(
            400, Cause.BAD_AUTHORITY, around.report(accepting), f"{address} is a port of this proxy: the connection would come back"
        )
        return _Way(refusal)
    admission = admit(around.policies, address_like(opener.workload, address.ip), opener.pod.identity, address, local, endpoint.workload)
    if admission.status:
        refusal = Reject(admission.status, Cause.DENIED, around.report(accepting), f"{admission.reason}, to {address}")
        return _Way(refusal, lasting=admission.lasting)
    action = Local(local.number, _endpoint(address), around.report(opening), around.report(accepting))
    return _Way(action, admission.would_deny)


def _service_labels(source: Workload, target: SocketAddress, around: Surroundings) -> Labels:
    owner = around.view.find(source.network, target.ip)
    return Labels("source", party(source), Party(), service_name(owner if isinstance(owner, Service) else None))


def _endpoint(address: SocketAddress) -> tuple[str, int]:
    return str(address.ip), address.port
