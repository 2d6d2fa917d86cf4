"""What the observation process says, as values."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from mesh.model import SocketAddress

NO_STATE = "NONE"
LISTEN = "LISTEN"
CLOSED = "CLOSE"
# States in which both sides have agreed on the connection. SYN_RECV is not among them: its handshake is not over.
AGREED_STATES = frozenset({"ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING"})


class Kind(enum.Enum):
    """What happened. The values are the words of ebpf/observe/process.py."""

    STATE = "state"
    RTT = "rtt"
    RETRANSMIT = "retransmit"
    RESET_SENT = "reset-sent"
    RESET_RECEIVED = "reset-received"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one socket, or of a packet that has none.

    Args:
        time_ns: of CLOCK_MONOTONIC.
        socket: tells sockets apart while they live; 0: none.
        netns: inode of the network namespace.
        rtt_us: smoothed; 0: not measured.
        reason: of a drop or a sent reset, the kernel's number; 0: none.
        old_state, new_state: the kernel's names; equal unless kind is STATE; "NONE" without a socket.
        local, remote: seen from the namespace. The local port is 0 while a socket that connects has none.
        elsewhere: the packet was dropped in another namespace of the node than its connection's.
    """

    time_ns: int
    kind: Kind
    netns: int
    local: SocketAddress
    remote: SocketAddress
    socket: int = 0
    mark: int = 0
    rtt_us: int = 0
    reason: int = 0
    old_state: str = NO_STATE
    new_state: str = NO_STATE
    elsewhere: bool = False


def parse_event(message: Mapping[str, Any]) -> Event:
    """Reads a line of the observation process. An address that IPv6 sockets use for an IPv4 peer becomes that of the peer."""
    return Event(
        time_ns=message["time_ns"],
        kind=Kind(message["kind"]),
        netns=message["netns"],
        local=socket_address(message["local"], message["local_port"]),
        remote=socket_address(message["remote"], message["remote_port"]),
        socket=message["socket"],
        mark=message["mark"],
        rtt_us=message["rtt_us"],
        reason=message["reason"],
        old_state=message["old_state"],
        new_state=message["new_state"],
    )


def socket_address(text: str, port: int) -> SocketAddress:
    """An address as the kernel prints it; the IPv4-mapped ones of IPv6 sockets become IPv4."""
    ip = ip_address(text)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return SocketAddress(mapped or ip, port)
