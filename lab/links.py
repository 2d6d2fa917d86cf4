"""The lab's wires: nodes on one bridge, pods behind their node.

A pod's addresses are single hosts and everything, its neighbours too, is reached through the node: only what the node routes
passes its address translation, in both directions, and a virtual IP must work for a client beside its backend.
"""

import os
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute  # type: ignore[import-untyped]

from lab import addresses
from lab.layout import Layout
from lab.netns import netns_path, set_sysctls

LAB_BRIDGE = "nodes0"
POD_BRIDGE = "cni0"
# IFA_F_NODAD: nobody else can have the address, and waiting to learn that takes two seconds.
_NO_DUPLICATE_DETECTION = 0x02
# The gateway is next door, though no address of ours shares a network with it.
_SCOPE_LINK = 253
_QUIET_IPV6 = {"ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/accept_ra": "0"}
# The node sends IPv6 redirects to neighbours whatever it is told; a pod that followed them would bypass its address translation.
_NO_REDIRECTS = {f"{family}/conf/{which}/accept_redirects": "0" for family in ("ipv4", "ipv6") for which in ("all", "default")}
# Bridged frames would otherwise pass the rules meant for routed ones, on kernels with br_netfilter.
_PLAIN_BRIDGE = {f"bridge/bridge-nf-call-{table}": "0" for table in ("iptables", "ip6tables", "arptables")}
_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    # Pods reach their neighbours through the node on purpose: do not tell them of a shorter way.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}


def make_lab_bridge(layout: Layout) -> None:
    """Prepares the namespace that joins the nodes; it must exist."""
    set_sysctls(layout.bridge_netns, _QUIET_IPV6 | _PLAIN_BRIDGE)
    with IPRoute(netns=layout.bridge_netns) as ip:
        _up(ip, "lo")
        _make_bridge(ip, LAB_BRIDGE)


def connect_to_lab(layout: Layout, netns: str, port: str, pair: addresses.AddressPair) -> None:
    """Gives a namespace an eth0 on the nodes' network.

    Args:
        port: the name of the other end, on the bridge; at most 15 bytes.
    """
    set_sysctls(netns, _QUIET_IPV6)
    with IPRoute(netns=layout.bridge_netns) as ip:
        _make_veth(ip, port, LAB_BRIDGE, netns, _mac_of(pair[0]))
    with IPRoute(netns=netns) as ip:
        _up(ip, "lo")
        _up(ip, "eth0")
        for address, length in zip(pair, addresses.NODE_PREFIX_LENGTHS, strict=True):
            _address(ip, "eth0", address, length)


def connect_node(layout: Layout, node: str, nodes: tuple[str, ...]) -> None:
    """Makes a namespace a node: on the nodes' network, router of its pods, with routes to the pods of all others."""
    netns = layout.node_netns(node)
    connect_to_lab(layout, netns, node, addresses.node_addresses(node))
    set_sysctls(netns, _ROUTER | _PLAIN_BRIDGE)
    with IPRoute(netns=netns) as ip:
        # A bridge without an address of its own takes one of its ports', and changes it under its neighbours when ports come and go.
        _make_bridge(ip, POD_BRIDGE, address=_mac_of(addresses.pod_gateways(node)[0]))
        for gateway, network in zip(addresses.pod_gateways(node), addresses.pod_networks(node), strict=True):
            _address(ip, POD_BRIDGE, gateway, int(network.rpartition("/")[2]))
        for services in addresses.SERVICE_NETWORKS:
            # Never used: the node's own connections to a virtual IP need some route before their destination is translated.
            ip.route("add", dst=str(services), oif=_index(ip, POD_BRIDGE))
        for other in nodes:
            if other != node:
                for network, gateway in zip(addresses.pod_networks(other), addresses.node_addresses(other), strict=True):
                    ip.route("add", dst=network, gateway=gateway)


def connect_pod(layout: Layout, node: str, port: str, netns: str, pair: addresses.AddressPair) -> None:
    """Gives a pod its eth0.

    Args:
        port: the name of the node's end; at most 15 bytes, unique on the node.
    """
    set_sysctls(netns, _QUIET_IPV6 | _NO_REDIRECTS)
    with IPRoute(netns=layout.node_netns(node)) as ip:
        _make_veth(ip, port, POD_BRIDGE, netns, _mac_of(pair[0]))
    with IPRoute(netns=netns) as ip:
        _up(ip, "lo")
        _up(ip, "eth0")
        index = _index(ip, "eth0")
        for address, gateway, length in zip(pair, addresses.pod_gateways(node), (32, 128), strict=True):
            _address(ip, "eth0", address, length)
            ip.route("add", dst=f"{gateway}/{length}", oif=index, scope=_SCOPE_LINK)
            ip.route("add", dst="default", gateway=gateway, oif=index, family=_family(gateway))


def disconnect_pod(layout: Layout, node: str, port: str) -> None:
    """Takes a pod's wire away, at both ends; nothing happens when it is gone."""
    with IPRoute(netns=layout.node_netns(node)) as ip:
        for index in ip.link_lookup(ifname=port):
            ip.link("del", index=index)


def _family(address: str) -> int:
    return 10 if ":" in address else 2


def _make_bridge(ip: Any, name: str, **attributes: str) -> None:
    # No forward delay: the first packet of a new port must not wait 15 s.
    ip.link("add", ifname=name, kind="bridge", br_forward_delay=0, br_stp_state=0, **attributes)
    _up(ip, name)


def _mac_of(ipv4: str) -> str:
    """A locally administered address for an IPv4 address: who gets that next is reached at once, not after a time-out."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x00, *IPv4Address(ipv4).packed))


def _make_veth(ip: Any, port: str, bridge: str, peer_netns: str, peer_mac: str) -> None:
    peer = os.open(netns_path(peer_netns), os.O_RDONLY | os.O_CLOEXEC)
    try:
        ip.link("add", ifname=port, kind="veth", peer={"ifname": "eth0", "net_ns_fd": peer, "address": peer_mac})
    finally:
        os.close(peer)
    ip.link("set", index=_index(ip, port), master=_index(ip, bridge), state="up")


def _address(ip: Any, interface: str, address: str, prefix_length: int) -> None:
    flags = _NO_DUPLICATE_DETECTION if ":" in address else 0
    ip.addr("add", index=_index(ip, interface), address=address, prefixlen=prefix_length, flags=flags)


def _up(ip: Any, interface: str) -> None:
    ip.link("set", index=_index(ip, interface), state="up")


def _index(ip: Any, interface: str) -> int:
    return int(ip.link_lookup(ifname=interface)[0])
