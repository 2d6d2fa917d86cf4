"""Two network namespaces joined by a pair of virtual Ethernet interfaces: the ground of `bench.engine_pair`."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

CLIENT_ADDRESS, SERVER_ADDRESS = "10.98.0.1", "10.98.0.2"
# A second address of the server: what the client sends there is captured, so that one pair of namespaces serves all modes.
CAPTURED_ADDRESS = "10.98.0.3"

# The engine's own sockets carry mark 0x539 and are left alone.
CAPTURE = f"""
table ip capture {{
  chain output {{
    type nat hook output priority -100; policy accept
    ip daddr {CAPTURED_ADDRESS} meta mark and 0xfff != 0x539 tcp dport != 15008 redirect to :15001
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class TwoNamespaces:
    """Names of the two."""

    client: str
    server: str


@contextlib.contextmanager
def two_namespaces() -> Iterator[TwoNamespaces]:
    """Makes both, and removes them when the block ends. The names carry the process id: measurements do not collide."""
    pair = TwoNamespaces(f"bench{os.getpid()}-client", f"bench{os.getpid()}-server")
    try:
        _run(_setup(pair))
        _run(f"ip netns exec {pair.client} nft -f -", CAPTURE)
        yield pair
    finally:
        for name in (pair.client, pair.server):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def _setup(pair: TwoNamespaces) -> str:
    return f"""
ip netns add {pair.client}
ip netns add {pair.server}
ip link add eth0 netns {pair.client} type veth peer name eth0 netns {pair.server}
for name in {pair.client} {pair.server}; do ip -n $name link set lo up; ip -n $name link set eth0 up; done
# As in bench.in_lab: or a load of new connections runs out of ports, though not on loopback.
for name in {pair.client} {pair.server}; do ip netns exec $name sysctl -qw net.ipv4.tcp_tw_reuse=1; done
ip -n {pair.client} addr add {CLIENT_ADDRESS}/24 dev eth0
ip -n {pair.server} addr add {SERVER_ADDRESS}/24 dev eth0
ip -n {pair.server} addr add {CAPTURED_ADDRESS}/24 dev eth0
"""


def _run(script: str, text: str = "") -> None:
    subprocess.run(["bash", "-euc", script], input=text, text=True, check=True)
