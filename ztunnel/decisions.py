"""What the engine is to do with a flow: a pure function of the flow and of what this node knows.

Source: HBONE as the ambient ecosystem speaks it; docs/runtime.md for the ports.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from mesh.errors import CredentialError, RemoteProtocolError, ResolutionError
from mesh.identity import parse_identity
from mesh.model import IPAddress, Service, SocketAddress, TunnelProtocol, Workload
from mesh.routing import Endpoint, Passthrough, View, resolve
from ztunnel.authority import parse_authority
from ztunnel.config import NodeSettings
from ztunnel.engine.interface import Action, Cause, Decision, Direct, Direction, Flow, Local, Reject, Tunnel
from ztunnel.pods import LocalPod
from ztunnel.telemetry.labels import Labels, Party
from ztunnel.telemetry.parties import baggage, inbound_service, party, service_name

HBONE_PORT = int(Direction.INBOUND_HBONE)
# In a pod's namespace these are ztunnel's own: a connection relayed to one would come back to it. 15053 is for DNS.
OWN_PORTS = frozenset((15001, 15006, 15008, 15053))
# Each choice has a report of its own (1 KB). A service with more endpoints has others of them on other pods.
MAX_CHOICES = 256


class NodeView(View, Protocol):
    """What discovery knows, by uid too."""

    def workload(self, uid: str) -> Workload | None: ...

    def service(self, key: str) -> Service | None: ...


class PodView(Protocol):
    """The pods of this node."""

    def by_number(self, number: int) -> LocalPod | None: ...

    def by_workload(self, workload_uid: str) -> LocalPod | None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decision is made from.

    Args:
        report: gives the number of labels.
        turn: grows from call to call: a flow that is decided anew does not begin with the same endpoint again.
    """

    node: NodeSettings
    view: NodeView
    pods: PodView
    report: Callable[[Labels], int]
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and, when it refuses, why: one clause for the log."""

    decision: Decision
    refusal: str = ""


def decide(flow: Flow, around: Surroundings) -> Verdict:
    """Answers one miss. Never raises for what a peer or a pod did: a refusal is a decision too."""
    pod = around.pods.by_number(flow.pod)
    if pod is None:
        return _reject(around, Labels("source", Party(), Party()), 503, Cause.DRAINED, "the pod has left")
    try:
        target = parse_authority(flow.destination)
    except RemoteProtocolError as error:
        return _reject(around, _labels_of_refused(flow, pod, around), error.status, Cause.BAD_AUTHORITY, error.reason)
    if flow.direction is Direction.OUTBOUND:
        return _outbound(target, pod, around)
    return _inbound(flow, target, pod, around)


def names_needed(flow: Flow, around: Surroundings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names in discovery that a decision depends on: those that it needs, and those that only its labels need."""
    pod = around.pods.by_number(flow.pod)
    own = (pod.workload_uid,) if pod else ()
    if flow.direction is not Direction.OUTBOUND:
        return own, _names(_source_address(flow.source), around)
    try:
        return (*own, *_names(parse_authority(flow.destination).ip, around)), ()
    except RemoteProtocolError:
        return own, ()


def _names(ip: IPAddress | None, around: Surroundings) -> tuple[str, ...]:
    """Returns the name of an address that may be somebody's in the mesh."""
    if ip is None or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return ()
    return (f"{around.node.network}/{ip}",)


def _outbound(target: SocketAddress, pod: LocalPod, around: Surroundings) -> Verdict:
    source = _workload_of(pod, around)
    stranger = Labels("source", party(source), Party())
    if target.port in OWN_PORTS and (target.ip in source.addresses or target.ip.is_loopback or target.ip.is_unspecified):
        return _reject(around, stranger, 400, Cause.BAD_AUTHORITY, f"{target} is a port of this proxy: the connection would come back")
    try:
        found = resolve(around.view, source, source.network, target)
    except ResolutionError as error:
        # A change of the service or its workloads drops what is cached.
        return _reject(around, _service_labels(source, target, around), 503, Cause.NO_UPSTREAM, str(error), cache=True)
    if isinstance(found, Passthrough):
        return Verdict(Decision((Direct(_endpoint(target), keep_source=False, report=around.report(stranger)),)))
    endpoints = _spread(found.endpoints, pod.workload_uid, around.turn)
    return Verdict(Decision(tuple(_towards(endpoint, source, pod, found.service, around) for endpoint in endpoints)))


def _towards(endpoint: Endpoint, source: Workload, pod: LocalPod, service: Service | None, around: Surroundings) -> Action:
    """Returns how one endpoint is reached: in this node, in a tunnel, or, outside the mesh, in plain TCP."""
    workload, address = endpoint.workload, endpoint.address
    inside = workload.tunnel_protocol is TunnelProtocol.HBONE
    labels = Labels("source", party(source), party(workload), service_name(service), str(address) if inside else "", secure=inside)
    if not inside:
        return Direct(_endpoint(address), keep_source=False, report=around.report(labels))
    local = around.pods.by_workload(workload.uid) if workload.node == around.node.name else None
    if local is not None:
        accepting = Labels("destination", labels.source, labels.destination, labels.service, labels.hbone_address, secure=True)
        return Local(local.number, _endpoint(address), around.report(labels), around.report(accepting))
    return Tunnel(
        next_hop=(str(address.ip), HBONE_PORT),
        authority=str(address),
        headers=(("baggage", baggage(source)),),
        source_identity=str(pod.identity),
        peer_identities=(str(workload.identity),),
        report=around.report(labels),
    )


def _inbound(flow: Flow, target: SocketAddress, pod: LocalPod, around: Surroundings) -> Verdict:
    """The pod's own address and not a port of ours; from a tunnel, a peer of our trust domain."""
    own = around.view.workload(pod.workload_uid)
    refused = _labels_of_refused(flow, pod, around)
    if flow.direction is Direction.INBOUND_HBONE and not _trusted(flow.peer, around):
        return _reject(around, refused, 401, Cause.DENIED, f"{flow.peer!r} is not of the trust domain {around.node.trust_domain}")
    if own is None:
        # Until the control plane has said which addresses are the pod's, none is.
        return _reject(around, refused, 503, Cause.NO_UPSTREAM, "the control plane has not told the pod's addresses yet")
    if target.ip not in own.addresses:
        return _reject(around, refused, 400, Cause.BAD_AUTHORITY, f"{target} is no address of the pod")
    if target.port in OWN_PORTS:
        return _reject(around, refused, 400, Cause.BAD_AUTHORITY, f"{target} is a port of this proxy: the connection would come back")
    labels = _inbound_labels(flow, own, target, around)
    return Verdict(Decision((Direct(_endpoint(target), keep_source=True, report=around.report(labels)),)))


def _trusted(peer: str, around: Surroundings) -> bool:
    try:
        return parse_identity(peer).trust_domain == around.node.trust_domain
    except CredentialError:
        return False


def _labels_of_refused(flow: Flow, pod: LocalPod, around: Surroundings) -> Labels:
    """Labels without what a hostile peer chose: it must not be able to fill the table of reports."""
    own = party(_workload_of(pod, around))
    if flow.direction is Direction.OUTBOUND:
        return Labels("source", own, Party())
    return Labels("destination", _source_party(flow, around), own, secure=flow.direction is Direction.INBOUND_HBONE)


def _inbound_labels(flow: Flow, own: Workload, target: SocketAddress, around: Surroundings) -> Labels:
    tunnelled = flow.direction is Direction.INBOUND_HBONE
    service = inbound_service(own, target.port, around.view.service)
    return Labels("destination", _source_party(flow, around), party(own), service, str(target) if tunnelled else "", secure=tunnelled)


def _source_party(flow: Flow, around: Surroundings) -> Party:
    """Who the client is. An address proves nothing: its owner counts only where it does not contradict the proven identity."""
    ip = _source_address(flow.source)
    owner = around.view.find(around.node.network, ip) if ip is not None else None
    workload = owner if isinstance(owner, Workload) else None
    if flow.direction is Direction.INBOUND_PLAINTEXT:
        return party(workload, identity="") if workload else Party()
    if workload is not None and str(workload.identity) == flow.peer:
        return party(workload)
    try:
        return Party(namespace=parse_identity(flow.peer).namespace, identity=flow.peer)
    except CredentialError:
        return Party()


def _source_address(source: str) -> IPAddress | None:
    try:
        return parse_authority(f"[{source}]:1" if ":" in source else f"{source}:1").ip
    except RemoteProtocolError:
        return None


def _service_labels(source: Workload, target: SocketAddress, around: Surroundings) -> Labels:
    owner = around.view.find(source.network, target.ip)
    return Labels("source", party(source), Party(), service_name(owner if isinstance(owner, Service) else None))


def _workload_of(pod: LocalPod, around: Surroundings) -> Workload:
    """Returns the pod as the control plane describes it, or, before it does, as the agent did.

    Its identity is always the agent's word: that is who runs in the namespace, and whose certificate we hold.
    """
    known = around.view.workload(pod.workload_uid)
    if known is not None and known.identity == pod.identity:
        return known
    return Workload(
        uid=pod.workload_uid,
        name=pod.info.name,
        namespace=pod.info.namespace,
        service_account=pod.info.service_account,
        trust_domain=pod.identity.trust_domain,
        addresses=known.addresses if known else (),
        node=around.node.name,
        tunnel_protocol=TunnelProtocol.HBONE,
        network=around.node.network,
        cluster=around.node.cluster_id,
    )


def _spread(endpoints: tuple[Endpoint, ...], key: str, turn: int) -> tuple[Endpoint, ...]:
    """Returns at most MAX_CHOICES endpoints, beginning at a place that differs from pod to pod and from turn to turn."""
    start = (crc32(key.encode()) + turn) % len(endpoints)
    return (endpoints[start:] + endpoints[:start])[:MAX_CHOICES]


def _reject(around: Surroundings, labels: Labels, status: int, cause: Cause, reason: str, cache: bool = False) -> Verdict:
    """A refusal is not kept where a hostile peer could fill the flow table with it, or where waiting may help."""
    return Verdict(Decision((Reject(status, cause, around.report(labels)),), cache=cache), reason)


def _endpoint(address: SocketAddress) -> tuple[str, int]:
    return str(address.ip), address.port
