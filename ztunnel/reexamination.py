"""Whether policy, as it is now, still lets in what it once let in. Pure: no report, no label, no cache is touched."""

from mesh.errors import RemoteProtocolError
from mesh.identity import Identity
from mesh.model import IPAddress, SocketAddress
from ztunnel.admission import DENIED, admit
from ztunnel.authority import parse_authority
from ztunnel.engine.interface import Direction, LiveFlow, Local
from ztunnel.pods import LocalPod
from ztunnel.surroundings import Surroundings, address_like, source_address, trusted_peer, workload_of


def denial_now(live: LiveFlow, around: Surroundings) -> str:
    """Decides on live connections anew, by policy alone: that an endpoint is gone, or nobody knows, closes nothing.

    Of what a pod opens only that is judged which stayed on this node; what left it is the other node's to close.
    Returns:
        the reason when they are to be closed, "" when they may go on.
    """
    flow, action = live
    pod = around.pods.by_number(flow.pod)
    if pod is None:
        return ""
    if flow.direction is Direction.OUTBOUND:
        return _denial_beside(action, pod, around) if isinstance(action, Local) else ""
    identity = trusted_peer(flow.peer, around.node) if flow.direction is Direction.INBOUND_HBONE else None
    try:
        target = parse_authority(flow.destination)
    except RemoteProtocolError:
        return ""
    return _denial(source_address(flow.source), identity, target, pod, around)


def _denial_beside(way: Local, pod: LocalPod, around: Surroundings) -> str:
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
