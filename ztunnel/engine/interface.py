"""What an engine must do: the whole border between decisions and the byte path.

An engine executes actions: listeners, TLS, HBONE, relaying, counters. It knows no Kubernetes, services, policies, files or
environment. Whatever crosses here is an int, bytes, str, a file descriptor or a frozen struct of these. Structs of which every connection
makes some are tuples: they are built in a third of the time.
"""

import enum
from dataclasses import dataclass
from typing import NamedTuple, Protocol

# (address in text form, port). IPv4-mapped IPv6 addresses are given as IPv4.
Endpoint = tuple[str, int]


class Direction(enum.IntEnum):
    """The listener of a pod that a connection arrived on, and the port of that listener.

    Source: the ports that the ambient ecosystem's capture rules redirect to.
    """

    OUTBOUND = 15001
    INBOUND_PLAINTEXT = 15006
    INBOUND_HBONE = 15008


class Cause(enum.IntEnum):
    """Why a connection did not get through, or ended badly. NONE: it ended as its two ends wished."""

    NONE = 0
    CLIENT_RESET = 1  # the side that opened the connection sent a reset
    SERVER_RESET = 2  # the side that was dialled sent a reset
    CONNECT_REFUSED = 3
    CONNECT_TIMEOUT = 4
    CONNECT_UNREACHABLE = 5
    TLS_FAILURE = 6
    H2_FAILURE = 7  # the tunnel broke the HTTP/2 protocol, or died
    TUNNEL_REFUSED = 8  # the peer answered CONNECT with another status than 200
    DENIED = 9
    BAD_AUTHORITY = 10
    NO_UPSTREAM = 11
    DECISION_TIMEOUT = 12
    OVERLOADED = 13  # a bound of ours was reached
    DRAINED = 14  # the pod left the mesh, or the engine stopped
    CERTIFICATE_REVOKED = 15  # of the peer of the tunnel


class Flow(NamedTuple):
    """The key of a decision.

    Args:
        pod: the pod whose namespace the connection was captured in.
        direction: which listener took it.
        source: address of the client; for INBOUND_HBONE, of the peer of the tunnel. "" for OUTBOUND (it is the pod itself).
        destination: for OUTBOUND and INBOUND_PLAINTEXT "address:port" that the client asked for ("[v6]:port"); for
            INBOUND_HBONE the :authority of the CONNECT, as it was sent.
        peer: the SPIFFE URI that the TLS peer proved; "" where there is none.
    """

    pod: int
    direction: Direction
    source: str
    destination: str
    peer: str


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Carry the connection in an HBONE tunnel.

    Args:
        next_hop: where the tunnel goes.
        authority: the :authority of the CONNECT.
        headers: further request headers, the same for every connection (`baggage` and the like). The engine adds `forwarded`.
        source_identity: the SPIFFE URI to prove; its credentials must have been given before.
        peer_identities: SPIFFE URIs of which the peer must prove one; empty: any of the trust bundle.
        report: opaque to the engine; comes back in notices and counters.
    """

    next_hop: Endpoint
    authority: str
    headers: tuple[tuple[str, str], ...]
    source_identity: str
    peer_identities: tuple[str, ...]
    report: int


@dataclass(frozen=True, slots=True)
class Direct:
    """Connect from the flow's own pod, in plain TCP.

    Args:
        next_hop: where to.
        keep_source: bind the connection to the client's address (its port is free), so that the application sees it.
    """

    next_hop: Endpoint
    keep_source: bool
    report: int


@dataclass(frozen=True, slots=True)
class Local:
    """Connect inside another pod of this node: no TLS, no second hop; the client's address is kept.

    Args:
        pod: the pod whose namespace the connection is made in.
        report: of the side that opens (reporter=source).
        inbound_report: of the side that accepts (reporter=destination).
    """

    pod: int
    next_hop: Endpoint
    report: int
    inbound_report: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse: a reset for a plain connection, `status` for a CONNECT.

    Args:
        detail: a clause for people, which comes back in Closed.
    """

    status: int
    cause: Cause
    report: int
    detail: str = ""


Action = Tunnel | Direct | Local | Reject


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a miss.

    Args:
        choices: one is taken for each connection, in turn; at least one.
        cache: keep it for the flow until `invalidate`.
    """

    choices: tuple[Action, ...]
    cache: bool = True


class LiveFlow(NamedTuple):
    """What some live connections have in common: the flow that they came by, and which of its choices they were given."""

    flow: Flow
    action: Action

    def __hash__(self) -> int:
        """Of the flow alone: a flow has few actions, and an action is long."""
        return hash(self.flow)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves one identity. PEM, never written to disk.

    Args:
        roots: the trust bundle.
        revoked: certificate revocation lists of any of the bundle's authorities, one after the other; b"" for none. A list binds
            its own issuer only; peers of an authority without a list are not checked. A list that has run out still binds.
    """

    certificate_chain: bytes
    private_key: bytes
    roots: bytes
    revoked: bytes = b""


class Miss(NamedTuple):
    """A connection waits for a decision; answer with `decide`."""

    flow: Flow


class Opened(NamedTuple):
    """A connection reached its other end.

    Args:
        connection: unique in this engine's life.
        source: address of the client, "address:port".
        next_hop: "address:port" that was dialled.
        peer: proven SPIFFE URI of the other end of the tunnel, "" without one.
    """

    connection: int
    report: int
    source: str
    next_hop: str
    peer: str


class Closed(NamedTuple):
    """A connection that was Opened ended, or one that was not could not be.

    Args:
        opened: whether an Opened came before.
        sent_bytes, received_bytes: towards the server and from it.
        duration_ms: since it was accepted.
        cause, detail: why; detail is a clause for people, "" where there is nothing to add.
    """

    connection: int
    report: int
    source: str
    next_hop: str
    peer: str
    opened: bool
    sent_bytes: int
    received_bytes: int
    duration_ms: int
    cause: Cause
    detail: str


class Refused(NamedTuple):
    """A tunnel was turned away before it carried anything (TLS, HTTP/2, or no decision).

    Args:
        pod, direction: the listener.
        source: "address:port" of the peer.
    """

    pod: int
    direction: Direction
    source: str
    cause: Cause
    detail: str


Notice = Miss | Opened | Closed | Refused


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the engine started, for one report."""

    report: int
    opened: int
    closed: int
    failed: int
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class EngineState:
    """For the admin page: what there is now."""

    pods: int
    connections: int
    tunnels: int
    flows: int
    buffered_bytes: int


class Engine(Protocol):
    """An engine. Calls never block; they are made from the thread that runs the event loop."""

    name: str

    def add_pod(self, pod: int, netns_fd: int, identity: str) -> None:
        """Opens the pod's listeners; the engine owns netns_fd from here on. HBONE is accepted once `identity` has credentials.

        Args:
            pod: a number that no pod of this engine has had before: what is left of one that drains goes by its number.

        Raises:
            OSError: a listener could not be made; nothing is left open.
        """

    def remove_pod(self, pod: int, drain_timeout_s: float) -> None:
        """Closes the pod's listeners at once, and its connections when they end or the time is up."""

    def set_credentials(self, identity: str, credentials: Credentials) -> None:
        """From now on new tunnels of `identity` prove it with these, trust their roots, and refuse who is on their lists.

        Tunnels that live go on, except those of a peer whose certificate `revoked` now names: these end with CERTIFICATE_REVOKED.

        Raises:
            CredentialError: they do not fit together; what was set before stays.
        """

    def forget_credentials(self, identity: str) -> None: ...

    def decide(self, flow: Flow, decision: Decision) -> None:
        """Answers the Miss of `flow`, for every connection that waits for it."""

    def invalidate(self) -> None:
        """Forgets all cached decisions; connections go on."""

    def live_flows(self) -> list[LiveFlow]:
        """What every connection that is carried, or about to be, came by and was given; each once, in any order."""

    def close_flows(self, flows: frozenset[LiveFlow], cause: Cause, detail: str) -> None:
        """Ends every connection of these now, as if refused: resets on both sides, and a Closed with this cause and detail.

        What is cached for their flows is forgotten. One without connections is none of its business.
        """

    def take_notices(self) -> list[Notice]:
        """What happened since the last call, in order. The engine calls its `wake` when this becomes non-empty."""

    def counters(self) -> list[Counters]: ...

    def forget_reports(self, reports: frozenset[int]) -> None:
        """Drops the counters of these reports; no action names them any longer."""

    def state(self) -> EngineState: ...

    async def stop(self, drain_timeout_s: float) -> None:
        """Closes the listeners, lets connections end until the time is up, then closes all. A second time does nothing."""
