"""The nftables rules by which pods recognise what the node's own processes send them: health checks, above all. Pure.

They reach an enrolled pod from an address that nobody else can come from, and capture lets that address pass, also where policy wants
mutual TLS. A table of our own beside whatever the node uses: nobody else's rule is touched, and iptables of either kind do not see it.
"""

from collections.abc import Iterable

from daemonset.capture.plan import PROBES
from mesh.model import IPAddress

TABLE = "ambient"
# Before those who translate what leaves the node (100, kube-proxy among them): theirs would be the address of the node.
_BEFORE_SOURCE_NAT = 90
# Every user that there can be; a packet that is merely forwarded has no socket here, and so no user.
_ANY_USER = "0-4294967294"


def table_of(addresses: Iterable[IPAddress]) -> str:
    """The table for these pods, as `nft -f` takes it; it replaces the one that is there in one transaction."""
    by_version: dict[int, list[IPAddress]] = {4: [], 6: []}
    for address in sorted(addresses, key=lambda one: (one.version, int(one))):
        by_version[address.version].append(address)
    return f"""{without_table()}table inet {TABLE} {{
	set pods4 {{
		type ipv4_addr
		{_elements(by_version[4])}
	}}
	set pods6 {{
		type ipv6_addr
		{_elements(by_version[6])}
	}}
	chain arriving {{
		type filter hook prerouting priority raw; policy accept;
		ip saddr {PROBES[4]} drop
		ip6 saddr {PROBES[6]} drop
	}}
	chain leaving {{
		type nat hook postrouting priority {_BEFORE_SOURCE_NAT}; policy accept;
		ip daddr @pods4 meta l4proto tcp meta skuid {_ANY_USER} snat ip to {PROBES[4]}
		ip6 daddr @pods6 meta l4proto tcp meta skuid {_ANY_USER} snat ip6 to {PROBES[6]}
	}}
}}
"""


def without_table() -> str:
    """Removes the table, whether it is there or not."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"


def _elements(addresses: list[IPAddress]) -> str:
    return f"elements = {{ {', '.join(map(str, addresses))} }}" if addresses else ""
