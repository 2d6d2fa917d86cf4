"""How many connections ztunnel carries for a pod, as the pod's namespace sees them (sock_diag); the measure of draining."""

import socket
from typing import Any

from pyroute2 import DiagSocket  # type: ignore[import-untyped]

from daemonset.capture.kernel import Site
from daemonset.capture.namespace import inside
from daemonset.capture.netlink import read_survey, refusals, routing
from ebpf.layout import MARK_MASK, ZTUNNEL_MARK
from mesh.errors import CaptureError

# Listeners, TIME_WAIT and closed sockets carry nothing; include/net/tcp_states.h.
_LIVE = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6)
# Closed on both sides: all that is left is the acknowledgement of ztunnel's FIN, which takes one place in its send queue. A socket that
# the application closed first is past marking; what it still sends may miss ztunnel, and nobody waits for it.
_CLOSED = frozenset({9, 11})  # LAST_ACK, CLOSING
_FIN_BYTES = 1
# Tunnels between ztunnels outlive any one connection; source: HBONE.
_HBONE_PORT = 15008
# A dual-stack listener's IPv4 connections are IPv6 sockets.
_MAPPED = "::ffff:"


def count_carried(site: Site) -> int:
    """Counts ztunnel's ends of connections, with the application and, where they are not tunnelled, with others.

    Tunnels do not count, nor do connections that only wait for a last acknowledgement.
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
        dumps = [diagnostics.get_sock_stats(family=family, states=_LIVE) for family in (socket.AF_INET, socket.AF_INET6)]
    ours = (one for dump in dumps for one in dump if _mark(one.get_attr("INET_DIAG_MARK")) & MARK_MASK == ZTUNNEL_MARK)
    return sum(_is_open(one) and not _is_tunnel(one, own) for one in ours)


def _is_tunnel(found: Any, own: set[str]) -> bool:
    ports = (found["idiag_sport"], found["idiag_dport"])
    return _HBONE_PORT in ports and found["idiag_dst"].removeprefix(_MAPPED) not in own


def _is_open(found: Any) -> bool:
    return found["idiag_state"] not in _CLOSED or found["idiag_wqueue"] > _FIN_BYTES


def _mark(text: str | None) -> int:
    """The library shows the number's bytes in hexadecimal, low byte first."""
    return int.from_bytes(bytes.fromhex((text or "").replace(":", "")), "little")
