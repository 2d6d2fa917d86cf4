"""Whether a connection of a pod was captured: decided from the sockets of its namespace alone."""

import enum
from collections.abc import Iterable
from ipaddress import ip_address

from ebpf.observe.connection import Connection
from mesh.model import SocketAddress

# ztunnel's sockets: those that it dials, and those that its listeners accept, which inherit the mark. Source: Istio's ambient data plane.
ZTUNNEL_MARK, ZTUNNEL_MARK_MASK = 0x539, 0xFFF
# ztunnel's listeners. Where iptables redirects, the accepted socket's address is the listener's and not the original destination.
LISTENER_PORTS = frozenset({15001, 15006, 15008})
# Probes of the node come from these and are never captured. Source: Istio's CNI agent.
PROBE_ADDRESSES = frozenset(map(ip_address, ("169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff")))
# Both ends of a captured connection are in one namespace and agree within microseconds; an event of the other end that is still
# under way after this is one that never comes.
SETTLE_NS = 200_000_000


class Verdict(enum.Enum):
    """How a connection went, seen from the pod."""

    CAPTURED = "yes"
    AROUND = "NO"  # the application's, in plain TCP, past ztunnel
    ZTUNNEL = "ztunnel"  # one of ztunnel's own
    EXEMPT = "exempt"  # inside the pod, or a probe of its node
    UNDECIDED = "-"  # not established (yet)


def is_ztunnel(mark: int) -> bool:
    """Whether a socket with this mark is ztunnel's."""
    return mark & ZTUNNEL_MARK_MASK == ZTUNNEL_MARK


def is_other_end(ztunnel: SocketAddress, application: Connection) -> bool:
    """Whether a socket of ztunnel is the other end of an application's.

    Args:
        ztunnel: local address of a socket of ztunnel, whose remote address is the application's local one.
    """
    return ztunnel == application.remote or ztunnel.port in LISTENER_PORTS


def judge(connection: Connection, ztunnels: Iterable[SocketAddress], now_ns: int) -> Verdict:
    """Decides about one connection.

    Args:
        ztunnels: the local addresses of ztunnel's sockets in the same namespace whose remote address is the connection's local one.
        now_ns: of CLOCK_MONOTONIC.
    """
    if is_ztunnel(connection.mark):
        return Verdict.ZTUNNEL
    if connection.captured or any(is_other_end(ztunnel, connection) for ztunnel in ztunnels):
        return Verdict.CAPTURED
    if connection.local.ip == connection.remote.ip or connection.remote.ip.is_loopback or connection.remote.ip in PROBE_ADDRESSES:
        return Verdict.EXEMPT
    settled = connection.agreed_ns is not None and (connection.closed or now_ns - connection.agreed_ns >= SETTLE_NS)
    return Verdict.AROUND if settled else Verdict.UNDECIDED
