"""An authorization policy as it is enforced at layer 4."""

import enum
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mesh.identity import Identity
from mesh.model import SocketAddress

IPNetwork = IPv4Network | IPv6Network


class PolicyScope(enum.Enum):
    """Whom a policy holds for. Values are those of istio.security.Scope."""

    MESH = 0
    NAMESPACE = 1  # the policy's own
    SELECTOR = 2  # the workloads that name it in `policies`


class PolicyAction(enum.Enum):
    """Values are those of istio.security.Action."""

    ALLOW = 0
    DENY = 1


class TextMatchKind(enum.Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENCE = "presence"  # anything but the empty text


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A pattern; `text` is without its `*`, and "" for PRESENCE."""

    kind: TextMatchKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class ServiceAccountMatch:
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Match:
    """Holds when each field that has values holds: one of the values fits, and none of the `not_` values does.

    Without any values it says that somebody left out what layer 4 cannot tell: in an ALLOW policy it never holds, in a DENY policy always.
    What is asked of an identity (namespaces, service_accounts, principals) fits nobody who proved none.
    Args:
        principals: SPIFFE identities without "spiffe://".
    """

    namespaces: tuple[TextMatch, ...] = ()
    not_namespaces: tuple[TextMatch, ...] = ()
    service_accounts: tuple[ServiceAccountMatch, ...] = ()
    not_service_accounts: tuple[ServiceAccountMatch, ...] = ()
    principals: tuple[TextMatch, ...] = ()
    not_principals: tuple[TextMatch, ...] = ()
    source_ips: tuple[IPNetwork, ...] = ()
    not_source_ips: tuple[IPNetwork, ...] = ()
    destination_ips: tuple[IPNetwork, ...] = ()
    not_destination_ips: tuple[IPNetwork, ...] = ()
    destination_ports: tuple[int, ...] = ()
    not_destination_ports: tuple[int, ...] = ()


# One of them must hold; none at all are like a match without values.
Clause = tuple[Match, ...]
# All of them must hold; a rule without clauses matches everything.
Rule = tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Authorization:
    """One policy. It matches when one of its rules does; without rules it never matches.

    Args:
        dry_run: what it would do is logged, and never done.
    """

    name: str
    namespace: str
    scope: PolicyScope
    action: PolicyAction
    rules: tuple[Rule, ...]
    dry_run: bool = False

    @property
    def key(self) -> str:
        """The policy's name in the mesh: "namespace/name"."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Connection:
    """What a policy can know of a connection at layer 4.

    Args:
        source: the client's address.
        identity: what the client proved; None: nothing (plaintext).
        destination: address and port of the workload, never of a service.
    """

    source: SocketAddress
    identity: Identity | None
    destination: SocketAddress
