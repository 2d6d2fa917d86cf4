"""The lab's addresses: every one has an IPv4 and an IPv6 form that read alike."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

AddressPair = tuple[str, str]

NODE_PREFIX_LENGTHS = (24, 64)
SERVICE_NETWORKS = (IPv4Network("10.96.0.0/16"), IPv6Network("fd00:10:96::/112"))
CONTROLPLANE: AddressPair = ("172.30.0.2", "fd00:172:30::2")
# 172.30.0.10 + n must stay below 255, and both ends of what people read on one screen.
MAX_NODES = 100
# .1 is the node itself, .255 the broadcast address.
FIRST_POD, LAST_POD = 2, 254
# Below are the addresses that Kubernetes gives to its own services.
FIRST_SERVICE, LAST_SERVICE = 11, 65534


class AddressesExhausted(Exception):
    """Every address of a range is taken."""


def node_number(node: str) -> int:
    """1 for "node1": the lab names its nodes itself."""
    return int(node.removeprefix("node"))


def node_names(count: int) -> tuple[str, ...]:
    return tuple(f"node{number}" for number in range(1, count + 1))


def node_addresses(node: str) -> AddressPair:
    number = 10 + node_number(node)
    return f"172.30.0.{number}", f"fd00:172:30::{number}"


def pod_networks(node: str) -> AddressPair:
    number = node_number(node)
    return f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"


def pod_addresses(node: str, host: int) -> AddressPair:
    """The addresses of the pod numbered `host` (FIRST_POD to LAST_POD; 1 is the node's own end of the pod network)."""
    number = node_number(node)
    return f"10.244.{number}.{host}", f"fd00:10:244:{number}::{host}"


def pod_gateways(node: str) -> AddressPair:
    return pod_addresses(node, 1)


def service_addresses(offset: int) -> AddressPair:
    v4, v6 = SERVICE_NETWORKS
    return str(v4[offset]), str(v6[offset])


def service_offset(address: IPv4Address | IPv6Address) -> int | None:
    """Where in the range of virtual IPs an address lies; None: outside."""
    network = SERVICE_NETWORKS[0] if address.version == 4 else SERVICE_NETWORKS[1]
    return int(address) - int(network.network_address) if address in network else None


def next_free(taken: Collection[int], first: int, last: int) -> int:
    """The number after the highest taken one, so that one just given back rests for a while; else the lowest free one.

    Raises:
        AddressesExhausted: none is free.
    """
    after = max(taken, default=first - 1) + 1
    if first <= after <= last:
        return after
    free = next((number for number in range(first, last + 1) if number not in taken), None)
    if free is None:
        raise AddressesExhausted(f"all of {last - first + 1} addresses are taken")
    return free
