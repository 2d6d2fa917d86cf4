"""Virtual IPs as nftables rules of a node, as kube-proxy would write them.

One table, replaced as a whole in one transaction. A new connection to a virtual IP and port is looked up in a map and its destination
translated to a backend taken at random (or by the client's address); what has no backend is refused. A pod that reaches itself through its
service is masqueraded, or it would answer itself directly.
"""

from collections.abc import Iterable, Sequence

from lab.addresses import SERVICE_NETWORKS
from lab.endpoints import VirtualPort
from mesh.model import SocketAddress

TABLE = "inet services"

_HOOKS = f"""
  chain dispatch {{
    ip daddr . meta l4proto . th dport vmap @ports4
    ip6 daddr . meta l4proto . th dport vmap @ports6
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    jump dispatch
  }}
  chain output {{
    type nat hook output priority -100
    jump dispatch
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ct status dnat ip saddr . ip daddr @self4 masquerade
    ct status dnat ip6 saddr . ip6 daddr @self6 masquerade
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain unserved {{
    ip daddr {SERVICE_NETWORKS[0]} jump refuse
    ip6 daddr {SERVICE_NETWORKS[1]} jump refuse
  }}
  chain forward {{
    type filter hook forward priority filter
    jump unserved
  }}
  chain local {{
    type filter hook output priority filter
    jump unserved
  }}
"""


def render(ports: Sequence[VirtualPort]) -> str:
    """The whole script for `nft -f`; what was there of it before is replaced in the same transaction."""
    served = [port for port in ports if port.backends]
    return "\n".join(
        (
            f"table {TABLE} {{}}",
            f"delete table {TABLE}",
            f"table {TABLE} {{",
            *(_dispatch_map(version, served) for version in (4, 6)),
            *(_self_set(version, served) for version in (4, 6)),
            *(_balance(port) for port in served),
            _HOOKS.strip("\n"),
            "}\n",
        )
    )


def _chain(port: VirtualPort) -> str:
    return f"svc/{port.service}/{port.port}/{port.protocol.lower()}/{port.address.version}"


def _dispatch_map(version: int, ports: Iterable[VirtualPort]) -> str:
    elements = [
        f"{port.address} . {port.protocol.lower()} . {port.port} : goto {_chain(port)}" for port in ports if port.address.version == version
    ]
    return _block(f"map ports{version}", f"ipv{version}_addr . inet_proto . inet_service : verdict", elements)


def _self_set(version: int, ports: Iterable[VirtualPort]) -> str:
    backends = {backend.ip for port in ports for backend in port.backends if backend.ip.version == version}
    return _block(f"set self{version}", f"ipv{version}_addr . ipv{version}_addr", [f"{ip} . {ip}" for ip in sorted(backends, key=int)])


def _block(head: str, type_: str, elements: Sequence[str]) -> str:
    listed = f"\n    elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"  {head} {{\n    type {type_}{listed}\n  }}"


def _balance(port: VirtualPort) -> str:
    family = "ip" if port.address.version == 4 else "ip6"
    pick = f"jhash {family} saddr" if port.sticky else "numgen random"
    choices = ", ".join(f"{index} : {_concatenated(backend)}" for index, backend in enumerate(port.backends))
    rule = f"meta l4proto {port.protocol.lower()} dnat {family} to {pick} mod {len(port.backends)} map {{ {choices} }}"
    return f"  chain {_chain(port)} {{\n    {rule}\n  }}"


def _concatenated(backend: SocketAddress) -> str:
    return f"{backend.ip} . {backend.port}"
