"""How many connections ztunnel carries for a pod, as the pod's namespace sees them (sock_diag); the measure of draining."""

import socket

from pyroute2 import DiagSocket  # type: ignore[import-untyped]

from daemonset.capture.kernel import Site
from daemonset.capture.namespace import inside
from daemonset.capture.netlink import read_survey, refusals, routing
from daemonset.capture.plan import MARK_MASK, ZTUNNEL_MARK
from mesh.errors import CaptureError

# Listeners, TIME_WAIT and closed sockets carry nothing; include/net/tcp_states.h.
_LIVE = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6)
# By iptables a captured connection arrives at a port of ztunnel; by eBPF it keeps its own.
_PORTS = frozenset({15001, 15006})
# A dual-stack listener's IPv4 connections are IPv6 sockets.
_MAPPED = "::ffff:"


def count_carried(site: Site) -> int:
    """Counts ztunnel's ends of connections with the application.

    Its tunnels to other nodes do not count: they outlive any one connection.
    Raises:
        CaptureError: the namespace cannot be read.
    """
    try:
        return inside(site.netns, _count)
    except OSError as error:
        raise CaptureError(site.name, f"count connections: {error.strerror}", error.errno or 0) from error


def _count() -> int:
    with routing() as netlink:
        own = set(map(str, read_survey(netlink).addresses))
    with DiagSocket() as diagnostics, refusals():
        diagnostics.bind()
        return sum(
            found["idiag_sport"] in _PORTS or found["idiag_dst"].removeprefix(_MAPPED) in own
            for family in (socket.AF_INET, socket.AF_INET6)
            for found in diagnostics.get_sock_stats(family=family, states=_LIVE)
            if _mark(found.get_attr("INET_DIAG_MARK")) & MARK_MASK == ZTUNNEL_MARK
        )


def _mark(text: str | None) -> int:
    """The library shows the number's bytes in hexadecimal, low byte first."""
    return int.from_bytes(bytes.fromhex((text or "").replace(":", "")), "little")
