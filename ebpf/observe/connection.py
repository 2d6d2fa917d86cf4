"""One connection of a pod, and how an event changes what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ebpf.observe.events import AGREED_STATES, CLOSED, NO_STATE, Event, Kind
from mesh.model import SocketAddress

# Reasons of one connection that are kept apart; the kernel has some 130.
MAX_REASONS = 8

Path = tuple[int, SocketAddress, SocketAddress]


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of one connection, seen from one namespace.

    Args:
        opened_ns, changed_ns: of its first and of its latest event, CLOCK_MONOTONIC.
        socket: while it is open and has had an event; else 0.
        rtt_us: smoothed; 0: not measured.
        drops: how many packets were dropped, by the kernel's number of the reason and whether it was outside the namespace.
        agreed_ns: when it was first seen established; None: never.
        captured: ztunnel was seen at its other end.
    """

    netns: int
    local: SocketAddress
    remote: SocketAddress
    opened_ns: int
    changed_ns: int
    socket: int = 0
    state: str = NO_STATE
    mark: int = 0
    rtt_us: int = 0
    retransmits: int = 0
    resets_sent: int = 0
    resets_received: int = 0
    drops: Mapping[tuple[int, bool], int] = field(default_factory=dict)
    agreed_ns: int | None = None
    captured: bool = False

    @property
    def closed(self) -> bool:
        """Whether no socket has it (any longer): packets alone may still tell of it."""
        return self.state in {CLOSED, NO_STATE}

    @property
    def path(self) -> Path:
        return self.netns, self.local, self.remote


def advance(connection: Connection, event: Event) -> Connection:
    """The connection after an event of it."""
    changed = replace(connection, changed_ns=event.time_ns)
    if event.socket:
        changed = _follow_socket(changed, event)
    elif not connection.local.port:
        changed = replace(changed, local=event.local)
    match event.kind:
        case Kind.RETRANSMIT:
            return replace(changed, retransmits=changed.retransmits + 1)
        case Kind.RESET_SENT:
            return replace(changed, resets_sent=changed.resets_sent + 1)
        case Kind.RESET_RECEIVED:
            return replace(changed, resets_received=changed.resets_received + 1)
        case Kind.DROP:
            return replace(changed, drops=_count_drop(changed.drops, (event.reason, event.elsewhere)))
    return changed


def _follow_socket(connection: Connection, event: Event) -> Connection:
    agreed = connection.agreed_ns is None and event.new_state in AGREED_STATES
    return replace(
        connection,
        local=event.local if event.local.port else connection.local,
        remote=event.remote,
        socket=event.socket if event.new_state != CLOSED else 0,
        state=event.new_state,
        mark=event.mark,
        rtt_us=event.rtt_us or connection.rtt_us,
        agreed_ns=event.time_ns if agreed else connection.agreed_ns,
    )


def _count_drop(drops: Mapping[tuple[int, bool], int], key: tuple[int, bool]) -> Mapping[tuple[int, bool], int]:
    if key not in drops and len(drops) == MAX_REASONS:
        return drops
    return {**drops, key: drops.get(key, 0) + 1}
