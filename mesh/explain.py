"""What becomes of a connection that a workload opens, and why: routing and policy, asked as the node proxies ask them."""

import enum
from dataclasses import dataclass, replace

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.view import CatalogueView
from mesh.errors import ResolutionError
from mesh.identity import Identity
from mesh.model import Service, SocketAddress, TunnelProtocol, Workload
from mesh.policy.evaluation import Grounds, PolicyBook, Ruling
from mesh.policy.model import Authorization, Connection, PolicyAction, PolicyScope
from mesh.routing import AddressesOf, Passthrough, no_addresses, resolve
from mesh.settings import MeshSettings


class Way(enum.Enum):
    """How a connection reaches an endpoint."""

    TUNNEL = "tunnel"  # mutual TLS, to the ztunnel of the endpoint's node
    BESIDE = "same node"  # both ends are captured by one ztunnel, which knows who they are
    PLAIN = "plain"  # as the application sends it
    INSIDE = "inside the pod"  # it never leaves its network namespace, and is not captured


@dataclass(frozen=True, slots=True)
class Applying:
    """A policy that holds for an endpoint; `matches`: the connection is what it speaks of."""

    policy: Authorization
    matches: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """One endpoint that may be chosen.

    Args:
        workload: who receives it; None: nobody of the mesh.
        identity: what the client has proven there; None: nothing.
        ruling: of policy; None: nobody asks for policy there.
        applying: the policies that hold there, in the order in which they are asked: DENY first.
    """

    address: SocketAddress
    workload: Workload | None
    way: Way
    identity: Identity | None = None
    ruling: Ruling | None = None
    applying: tuple[Applying, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.ruling is None or self.ruling.allowed


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a connection to one address.

    Args:
        service: that the address belongs to, where it is one's.
        arrivals: every endpoint that may be chosen; empty exactly when `failure` says why there is none.
    """

    target: SocketAddress
    service: Service | None = None
    arrivals: tuple[Arrival, ...] = ()
    failure: str = ""

    @property
    def allowed(self) -> bool:
        """Whichever endpoint is chosen, the connection is let in."""
        return not self.failure and all(arrival.allowed for arrival in self.arrivals)


class Explainer:
    """Explains connections by what a catalogue holds at the time of making."""

    def __init__(self, catalogue: Catalogue, settings: MeshSettings) -> None:
        self._settings = settings
        self._view = CatalogueView(catalogue.workloads, catalogue.services)
        self._policies = sorted(catalogue.policies.values(), key=lambda one: (one.action is not PolicyAction.DENY, one.key))
        self._book = self._book_of(*self._policies)

    def owner(self, target: SocketAddress) -> Workload | Service | None:
        return self._view.find(self._settings.network, target.ip)

    def explain(self, source: Workload, target: SocketAddress, addresses_of: AddressesOf = no_addresses) -> Explanation:
        """Says what becomes of a connection.

        Args:
            source: the workload that opens it.
            target: as the application asks for it.
            addresses_of: as for mesh.routing.resolve.
        """
        if not source.addresses:
            return Explanation(target, failure=f"{source.uid} has no address yet")
        if target.ip in source.addresses:
            return Explanation(target, arrivals=(Arrival(target, source, Way.INSIDE),))
        owner = self.owner(target)
        service = owner if isinstance(owner, Service) else None
        if service is not None and not (_captured(source) or self._is_of_cluster(service)):
            # Outside the mesh nobody but the mesh knows that address.
            return Explanation(target, service, (Arrival(target, None, Way.PLAIN),))
        try:
            route = resolve(self._view, source, source.network, target, addresses_of)
        except ResolutionError as error:
            return Explanation(target, service, failure=str(error))
        if isinstance(route, Passthrough):
            return Explanation(target, service, (Arrival(target, None, Way.PLAIN),))
        return Explanation(target, service, tuple(self._arrival(source, one.workload, one.address) for one in route.endpoints))

    def _is_of_cluster(self, service: Service) -> bool:
        """A Service of Kubernetes, which every node routes to; others are the mesh's alone."""
        return service.hostname == f"{service.name}.{service.namespace}.svc.{self._settings.cluster_domain}"

    def _arrival(self, source: Workload, endpoint: Workload, address: SocketAddress) -> Arrival:
        workload = self._recipient(endpoint, address)
        if not _captured(workload):
            return Arrival(address, workload, Way.PLAIN)
        identity = source.identity if _captured(source) and _captured(endpoint) else None
        way = Way.PLAIN if identity is None else Way.BESIDE if source.node == workload.node else Way.TUNNEL
        same_family = (ip for ip in source.addresses if ip.version == address.ip.version)
        origin = next(same_family, source.addresses[0])
        connection = Connection(SocketAddress(origin, 0), identity, address)
        ruling = self._book.decide(connection, workload.namespace, workload.policies)
        applying = tuple(Applying(one, self._matches(one, connection)) for one in self._policies if _applies(one, workload))
        return Arrival(address, workload, way, identity, ruling, applying)

    def _recipient(self, endpoint: Workload, address: SocketAddress) -> Workload:
        """A bare address in a list of endpoints is no pod, yet may be that of a pod of the mesh, whose ztunnel takes plaintext there."""
        owner = self.owner(address)
        return owner if isinstance(owner, Workload) and _captured(owner) and not _captured(endpoint) else endpoint

    def _matches(self, policy: Authorization, connection: Connection) -> bool:
        """Asks a book that holds nothing else, so that matching is decided where it always is."""
        book = self._book_of(replace(policy, scope=PolicyScope.MESH, dry_run=False))
        matching = Grounds.DENIED if policy.action is PolicyAction.DENY else Grounds.ALLOWED
        return book.decide(connection, policy.namespace, ()).reason is matching

    def _book_of(self, *policies: Authorization) -> PolicyBook:
        book = PolicyBook(self._settings.trust_domain, self._settings.trust_domain_aliases)
        for policy in policies:
            book.put(policy)
        return book


def _captured(workload: Workload) -> bool:
    return workload.tunnel_protocol is TunnelProtocol.HBONE


def _applies(policy: Authorization, workload: Workload) -> bool:
    if policy.scope is PolicyScope.SELECTOR:
        return policy.key in workload.policies
    return policy.scope is PolicyScope.MESH or policy.namespace == workload.namespace
