"""What becomes of a connection that comes to a pod of this node: into the pod, when it may, or refused. Pure."""

from mesh.errors import CredentialError
from mesh.identity import parse_identity
from mesh.model import SocketAddress, Workload
from ztunnel.admission import admit
from ztunnel.engine.interface import Cause, Decision, Direct, Direction, Flow
from ztunnel.pods import LocalPod
from ztunnel.surroundings import OWN_PORTS, Surroundings, same_identities, source_address, trusted_peer, workload_of
from ztunnel.telemetry.labels import Labels, Party
from ztunnel.telemetry.parties import inbound_service, party
from ztunnel.verdict import Verdict, reject


def decide_inbound(flow: Flow, target: SocketAddress, pod: LocalPod, around: Surroundings) -> Verdict:
    """The pod's own address and not a port of ours; from a tunnel, a peer whom we trust; and then as policy says."""
    own = around.view.workload(pod.workload_uid)
    refused = labels_of_refused(flow, pod, around)
    tunnelled = flow.direction is Direction.INBOUND_HBONE
    identity = trusted_peer(flow.peer, around.node) if tunnelled else None
    if tunnelled and identity is None:
        return reject(around, refused, 401, Cause.DENIED, f"{flow.peer[:256]!r} is not of the trust domain {around.node.trust_domain}")
    if own is None or own.node != around.node.name:
        # Until the control plane has said which addresses are the pod's, none is. What it said of a pod elsewhere was said to a peer of
        # that pod: which policies hold for it here comes with word that it is here.
        return reject(around, refused, 503, Cause.NO_UPSTREAM, "the control plane has not told the pod's addresses yet")
    if target.ip not in own.addresses:
        return reject(around, refused, 400, Cause.BAD_AUTHORITY, f"{target} is no address of the pod")
    if target.port in OWN_PORTS:
        return reject(around, refused, 400, Cause.BAD_AUTHORITY, f"{target} is a port of this proxy: the connection would come back")
    admission = admit(around.policies, source_address(flow.source), identity, target, pod, own)
    if admission.status:
        labels = _labels_of_denied(flow, own, target, around)
        # What no service has is not kept either.
        cache = admission.lasting and bool(labels.service.hostname)
        return reject(around, labels, admission.status, Cause.DENIED, f"{admission.reason}, to {target}", cache)
    labels = _labels(flow, own, target, around)
    return Verdict(Decision((Direct((str(target.ip), target.port), keep_source=True, report=around.report(labels)),)), admission.would_deny)


def labels_of_refused(flow: Flow, pod: LocalPod, around: Surroundings) -> Labels:
    """Labels without what a hostile peer chose: it must not be able to fill the table of reports."""
    own = party(workload_of(pod, around))
    if flow.direction is Direction.OUTBOUND:
        return Labels("source", own, Party())
    return Labels("destination", _source_party(flow, around), own, secure=flow.direction is Direction.INBOUND_HBONE)


def _labels_of_denied(flow: Flow, own: Workload, target: SocketAddress, around: Surroundings) -> Labels:
    """As if it were let in, but for ports that no service has: a peer that is denied could name all of them."""
    labels = _labels(flow, own, target, around)
    if labels.service.hostname:
        return labels
    return Labels("destination", labels.source, labels.destination, secure=labels.secure)


def _labels(flow: Flow, own: Workload, target: SocketAddress, around: Surroundings) -> Labels:
    tunnelled = flow.direction is Direction.INBOUND_HBONE
    service = inbound_service(own, target.port, around.view.service)
    return Labels("destination", _source_party(flow, around), party(own), service, str(target) if tunnelled else "", secure=tunnelled)


def _source_party(flow: Flow, around: Surroundings) -> Party:
    """Who the client is. An address proves nothing: its owner counts only where it does not contradict the proven identity."""
    ip = source_address(flow.source)
    owner = around.view.find(around.node.network, ip) if ip is not None else None
    workload = owner if isinstance(owner, Workload) else None
    if flow.direction is Direction.INBOUND_PLAINTEXT:
        return party(workload, identity="") if workload else Party()
    try:
        proven = parse_identity(flow.peer)
    except CredentialError:
        return Party()
    if workload is not None and proven in same_identities(workload.identity, around.node):
        return party(workload, identity=flow.peer)
    return Party(namespace=proven.namespace, identity=flow.peer)
