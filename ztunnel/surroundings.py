"""What a decision is made from, and the little that all decisions ask of it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from mesh.errors import CredentialError, RemoteProtocolError
from mesh.identity import Identity, parse_identity
from mesh.model import IPAddress, Service, TunnelProtocol, Workload
from mesh.policy.evaluation import Ruling
from mesh.policy.model import Connection
from mesh.routing import AddressesOf, View, no_addresses
from ztunnel.authority import parse_authority
from ztunnel.config import NodeSettings
from ztunnel.engine.interface import Direction
from ztunnel.pods import LocalPod
from ztunnel.telemetry.labels import Labels

# In a pod's namespace these are ztunnel's own: a connection relayed to one would come back to it. 15053 is for DNS.
OWN_PORTS = frozenset((*map(int, Direction), 15053))


class NodeView(View, Protocol):
    """What discovery knows, by uid too."""

    def workload(self, uid: str) -> Workload | None: ...

    def service(self, key: str) -> Service | None: ...


class PodView(Protocol):
    """The pods of this node."""

    def by_number(self, number: int) -> LocalPod | None: ...

    def by_workload(self, workload_uid: str) -> LocalPod | None: ...


class PolicyView(Protocol):
    """The policies that this node holds.

    Args:
        synced: they have been told once.
    """

    synced: bool

    def decide(self, connection: Connection, namespace: str, listed: tuple[str, ...]) -> Ruling: ...

    def unread(self, key: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decision is made from.

    Args:
        report: gives the number of labels.
        turn: grows from call to call: a flow that is decided anew does not begin with the same endpoint again.
        addresses_of: of hostnames, as far as they have been looked up.
    """

    node: NodeSettings
    view: NodeView
    pods: PodView
    policies: PolicyView
    report: Callable[[Labels], int]
    turn: int = 0
    addresses_of: AddressesOf = no_addresses


def workload_of(pod: LocalPod, around: Surroundings) -> Workload:
    """Returns the pod as the control plane describes it, or, before it does, as the agent did.

    Its identity is always the agent's word: that is who runs in the namespace, and whose certificate we hold. A pod that has just started
    has addresses before the control plane hears of them.
    """
    known = around.view.workload(pod.workload_uid)
    if known is not None and known.identity == pod.identity:
        return known if known.addresses else replace(known, addresses=pod.addresses)
    return Workload(
        uid=pod.workload_uid,
        name=pod.info.name,
        namespace=pod.info.namespace,
        service_account=pod.info.service_account,
        trust_domain=pod.identity.trust_domain,
        addresses=(known.addresses if known else ()) or pod.addresses,
        node=around.node.name,
        tunnel_protocol=TunnelProtocol.HBONE,
        network=around.node.network,
        cluster=around.node.cluster_id,
    )


def address_like(workload: Workload, ip: IPAddress) -> IPAddress | None:
    """Returns the address that a workload is seen with when it connects to `ip`; None while it is not known."""
    same_family = (own for own in workload.addresses if own.version == ip.version)
    return next(same_family, next(iter(workload.addresses), None))


def same_identities(identity: Identity, node: NodeSettings) -> tuple[Identity, ...]:
    """Returns an identity and, where it is of the mesh's trust domain or of an alias, what it is called in the others of these."""
    if not node.trust_domain_aliases:
        return (identity,)
    domains = (node.trust_domain, *node.trust_domain_aliases)
    if identity.trust_domain not in domains:
        return (identity,)
    names = dict.fromkeys((identity.trust_domain, *domains))
    return tuple(Identity(domain, identity.namespace, identity.service_account) for domain in names)


def trusted_peer(peer: str, node: NodeSettings) -> Identity | None:
    """Returns whom a tunnel's peer has proven to be; None when that is nobody of the mesh's trust domain or of an alias."""
    try:
        identity = parse_identity(peer)
    except CredentialError:
        return None
    return identity if identity.trust_domain in {node.trust_domain, *node.trust_domain_aliases} else None


def source_address(source: str) -> IPAddress | None:
    """Returns the client's address of an inbound flow; a zone says which interface of the pod it came by, and nothing else."""
    bare = source.partition("%")[0]
    try:
        return parse_authority(f"[{bare}]:1" if ":" in bare else f"{bare}:1").ip
    except RemoteProtocolError:
        return None
