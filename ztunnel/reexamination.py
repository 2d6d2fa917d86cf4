"""Whether policy, as it is now, still lets in what it once let in. Pure: no report, no label, no cache is touched."""

from dataclasses import dataclass

from mesh.errors import RemoteProtocolError
from mesh.identity import Identity
from mesh.model import IPAddress, SocketAddress
from ztunnel.admission import admit
from ztunnel.authority import parse_authority
from ztunnel.engine.interface import Direction, Flow, Local
from ztunnel.local_ways import LocalWays
from ztunnel.pods import LocalPod
from ztunnel.surroundings import Surroundings, address_like, source_address, trusted_peer, workload_of

DENIED = 401


@dataclass(frozen=True, slots=True)
class Finding:
    """What policy says of a live flow.

    Args:
        denied_by: the reason when its connections are to be closed, "" when they may go on.
        unsure: a connection of it may be on its way to where it is denied, and cannot be told from others that are not.
    """

    denied_by: str = ""
    unsure: bool = False


def reexamine(flow: Flow, ways: LocalWays, busy: frozenset[int], around: Surroundings) -> Finding:
    """Decides on a live flow anew, by policy alone: that an endpoint is gone, or nobody knows, closes nothing.

    Args:
        busy: reports with open connections.
    """
    pod = around.pods.by_number(flow.pod)
    if pod is None:
        return Finding()
    if flow.direction is Direction.OUTBOUND:
        return _outbound(flow, pod, ways, busy, around)
    identity = trusted_peer(flow.peer, around.node) if flow.direction is Direction.INBOUND_HBONE else None
    try:
        target = parse_authority(flow.destination)
    except RemoteProtocolError:
        return Finding()
    return Finding(_denial(source_address(flow.source), identity, target, pod, around))


def _outbound(flow: Flow, pod: LocalPod, ways: LocalWays, busy: frozenset[int], around: Surroundings) -> Finding:
    """Connections that stayed on this node. Those that left it are the other node's to close."""
    taken = ways.of(flow)
    if taken is None:
        return Finding()
    denials = {way: denial for way in taken.local if (denial := _denial_of(way, pod, around))}
    if not denials:
        return Finding()
    ambiguous = taken.elsewhere or len(denials) < len(taken.local)
    for way, denial in denials.items():
        if not ambiguous or way.report in busy:
            return Finding(denial)
    return Finding(unsure=True)


def _denial_of(way: Local, pod: LocalPod, around: Surroundings) -> str:
    other = around.pods.by_number(way.pod)
    if other is None:
        return ""
    host, port = way.next_hop
    target = parse_authority(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    source = address_like(workload_of(pod, around), target.ip)
    return _denial(source, pod.identity, target, other, around)


def _denial(source: IPAddress | None, identity: Identity | None, target: SocketAddress, pod: LocalPod, around: Surroundings) -> str:
    admission = admit(around.policies, source, identity, target, pod, around.view.workload(pod.workload_uid))
    return admission.reason if admission.status == DENIED else ""
