"""What the engine is to do with a flow: a pure function of the flow and of what this node knows.

Source: HBONE as the ambient ecosystem speaks it; docs/runtime.md for the ports.
"""

from mesh.errors import RemoteProtocolError
from mesh.model import IPAddress
from mesh.routing import hostnames_needed
from ztunnel.authority import parse_authority
from ztunnel.discovery.policies import POLICIES
from ztunnel.engine.interface import Cause, Direction, Flow
from ztunnel.inbound import decide_inbound, labels_of_refused
from ztunnel.outbound import decide_outbound
from ztunnel.surroundings import Surroundings, source_address, workload_of
from ztunnel.telemetry.labels import Labels, Party
from ztunnel.verdict import Verdict, reject


def decide(flow: Flow, around: Surroundings) -> Verdict:
    """Answers one miss. Never raises for what a peer or a pod did: a refusal is a decision too."""
    pod = around.pods.by_number(flow.pod)
    if pod is None:
        return reject(around, Labels("source", Party(), Party()), 503, Cause.DRAINED, "the pod has left")
    try:
        target = parse_authority(flow.destination)
    except RemoteProtocolError as error:
        return reject(around, labels_of_refused(flow, pod, around), error.status, Cause.BAD_AUTHORITY, error.reason)
    if flow.direction is Direction.OUTBOUND:
        return decide_outbound(target, pod, around)
    return decide_inbound(flow, target, pod, around)


def names_needed(flow: Flow, around: Surroundings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names in discovery that a decision depends on: those that it needs, and those that only its labels need."""
    pod = around.pods.by_number(flow.pod)
    own = (pod.workload_uid,) if pod else ()
    if flow.direction is not Direction.OUTBOUND:
        return (*own, POLICIES), _names(source_address(flow.source), around)
    try:
        return (*own, *_names(parse_authority(flow.destination).ip, around)), ()
    except RemoteProtocolError:
        return own, ()


def hostnames_of(flow: Flow, around: Surroundings) -> tuple[str, ...]:
    """Returns the hostnames that must have been looked up for a decision; known once `names_needed` are."""
    pod = around.pods.by_number(flow.pod)
    if pod is None or flow.direction is not Direction.OUTBOUND:
        return ()
    try:
        return hostnames_needed(around.view, workload_of(pod, around).network, parse_authority(flow.destination))
    except RemoteProtocolError:
        return ()


def _names(ip: IPAddress | None, around: Surroundings) -> tuple[str, ...]:
    """Returns the name of an address that may be somebody's in the mesh."""
    if ip is None or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return ()
    return (f"{around.node.network}/{ip}",)
