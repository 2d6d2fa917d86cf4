"""Which node a pod runs on, and which addresses pods and services get."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from lab import addresses
from lab.documents import Given
from mesh.errors import ConfigError
from mesh.kubernetes import Pod, Service

_FAMILIES = ("IPv4", "IPv6")


@dataclass(frozen=True, slots=True)
class Placement:
    """Args:
    addresses: of the pod, IPv4 first; those of the node for a pod on the node's network.
    """

    node: str
    node_addresses: addresses.AddressPair
    addresses: addresses.AddressPair


def next_node(given: Given, nodes: tuple[str, ...], placed: int) -> tuple[str, int]:
    """The node that the pod asks for, else the next in turn; and how many were placed in turn now.

    Raises:
        ConfigError: there is no such node.
    """
    wanted = given.body["spec"].get("nodeName")
    if not wanted:
        return nodes[placed % len(nodes)], placed + 1
    if wanted not in nodes:
        raise ConfigError(f"{given.source}spec.nodeName", wanted, f"one of {', '.join(nodes)}")
    return wanted, placed


def free_pod_addresses(given: Given, node: str, pods: Iterable[Pod]) -> Placement:
    """Raises ConfigError when the node's addresses are all taken."""
    own = addresses.node_addresses(node)
    if given.body["spec"].get("hostNetwork"):
        return Placement(node, own, own)
    neighbours = (pod for pod in pods if pod.spec.node_name == node and not pod.spec.host_network)
    taken = {int(ip.exploded.rpartition(".")[2]) for pod in neighbours for ip in pod.addresses if ip.version == 4}
    try:
        host = addresses.next_free(taken, addresses.FIRST_POD, addresses.LAST_POD)
    except addresses.AddressesExhausted as error:
        raise ConfigError(f"{given.source}spec.nodeName", node, f"a node with a free address: {error}") from error
    return Placement(node, own, addresses.pod_addresses(node, host))


def free_service_addresses(given: Given, services: Iterable[Service]) -> tuple[str, ...]:
    """The virtual IPs that the manifest asks for, else a free pair (or one, where it asks for one family); () for none.

    Raises:
        ConfigError: an address asked for lies outside of the lab's range, or the range is used up.
    """
    service = Service.model_validate(given.body)
    raw = given.body.get("spec") or {}
    if service.spec.type == "ExternalName" or raw.get("clusterIP") == "None" or "None" in (raw.get("clusterIPs") or ()):
        return ()
    for address in service.addresses:
        if addresses.service_offset(address) is None:
            expected = " or ".join(map(str, addresses.SERVICE_NETWORKS))
            raise ConfigError(f"{given.source}spec.clusterIPs", str(address), f"an address of {expected}")
    if service.addresses:
        return tuple(map(str, service.addresses))
    return _of_families(given, service, _free_pair(given, services))


def _free_pair(given: Given, services: Iterable[Service]) -> addresses.AddressPair:
    offsets = {addresses.service_offset(address) for service in services for address in service.addresses}
    try:
        taken = [offset for offset in offsets if offset is not None]
        return addresses.service_addresses(addresses.next_free(taken, addresses.FIRST_SERVICE, addresses.LAST_SERVICE))
    except addresses.AddressesExhausted as error:
        raise ConfigError(f"{given.source}spec.clusterIP", None, f"a free address: {error}") from error


def _of_families(given: Given, service: Service, pair: addresses.AddressPair) -> tuple[str, ...]:
    """Both families unless the manifest names some, or asks for a single one; IPv4 is then the lab's first choice."""
    single = (given.body.get("spec") or {}).get("ipFamilyPolicy") == "SingleStack"
    families = service.spec.ip_families or (_FAMILIES[:1] if single else _FAMILIES)
    by_family = {f"IPv{ip_address(address).version}": address for address in pair}
    return tuple(by_family[family] for family in dict.fromkeys(families))
