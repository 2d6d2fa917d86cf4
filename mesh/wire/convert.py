"""Between the model and the xDS resource istio.workload.Address. What comes from the wire is hostile and is checked here."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from google.protobuf.wrappers_pb2 import UInt32Value

from mesh.errors import ConfigError
from mesh.limits import MAX_POLICIES, MAX_PORTS, MAX_SERVICES
from mesh.model import IPAddress, Locality, PortMapping, Service, TunnelProtocol, Workload
from mesh.wire import workload_pb2 as pb
from mesh.wire.balancing import extensions_to_wire, load_balancing_from_wire, load_balancing_to_wire
from mesh.wire.checks import MAX_NAME_LENGTH, check_size, segment, text

__all__ = [
    "MAX_NAME_LENGTH",
    "address_rank",
    "resource_names",
    "service_from_wire",
    "service_to_wire",
    "workload_from_wire",
    "workload_to_wire",
]

# In the uid of a pod, and of nothing else: its API group is empty, and no name has a slash.
POD_IN_UID = "//Pod/"
# One dual-stack pod has 2; multi-homed ones a few more. It bounds what one resource can add to an address table.
MAX_ADDRESSES = 64
# What a certificate may prove instead of the endpoint's own identity.
MAX_SUBJECT_ALT_NAMES = 256


def resource_names(resource: Workload | Service) -> tuple[str, tuple[str, ...]]:
    """Returns a resource's primary name in xDS and its aliases, by which it can be subscribed to as well.

    A workload's name is its uid, a service's "namespace/hostname"; the aliases are "network/ip" of each address. A workload
    on the node's own network has none: it shares its addresses with others.
    Source: istio/ztunnel, workload.proto.
    """
    primary = resource.uid if isinstance(resource, Workload) else resource.key
    if isinstance(resource, Workload) and resource.host_network:
        return primary, ()
    return primary, tuple(f"{resource.network}/{ip}" for ip in resource.addresses)


def address_rank(resource: Workload | Service) -> tuple[bool, bool, bool, str]:
    """Orders resources that have one address: it means the first.

    A service; then a pod, whose address Kubernetes says, while anybody may write any into an object of his own: he would draw the pod's
    connections, or have a tunnel expected where there is none; then what is reached by tunnel, so that it is not left for plaintext;
    then by name, so that control plane and nodes agree.
    """
    untunnelled = isinstance(resource, Workload) and resource.tunnel_protocol is TunnelProtocol.NONE
    name = resource_names(resource)[0]
    return not isinstance(resource, Service), POD_IN_UID not in name, untunnelled, name


def is_authoritative(resource: Workload | Service) -> bool:
    """Whether an address of a resource means it whatever else may have that address: another cannot go before it, but its like."""
    return isinstance(resource, Service) or POD_IN_UID in resource.uid


def workload_to_wire(workload: Workload) -> pb.Workload:
    return pb.Workload(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        service_account=workload.service_account,
        trust_domain=workload.trust_domain,
        addresses=[ip.packed for ip in workload.addresses],
        network=workload.network,
        node=workload.node,
        tunnel_protocol=pb.HBONE if workload.tunnel_protocol is TunnelProtocol.HBONE else pb.NONE,
        network_mode=pb.HOST_NETWORK if workload.host_network else pb.STANDARD,
        status=pb.HEALTHY if workload.healthy else pb.UNHEALTHY,
        canonical_name=workload.canonical_name,
        canonical_revision=workload.canonical_revision,
        workload_name=workload.workload_name,
        workload_type=pb.POD,
        cluster_id=workload.cluster,
        services={key: pb.PortList(ports=_ports_to_wire(ports)) for key, ports in workload.services.items()},
        hostname=workload.hostname,
        authorization_policies=workload.policies,
        locality=_locality_to_wire(workload.locality),
        capacity=UInt32Value(value=workload.capacity) if workload.capacity != 1 else None,
    )


def workload_from_wire(wire: pb.Workload, mesh_trust_domain: str) -> Workload:
    """Reads a workload that a control plane sent.

    Args:
        mesh_trust_domain: what an empty trust domain stands for.
    Raises:
        ConfigError: a field is not what it must be; `key` is "workload.<field>".
    """
    key = "workload."
    check_size(key + "services", len(wire.services), MAX_SERVICES)
    check_size(key + "authorization_policies", len(wire.authorization_policies), MAX_POLICIES)
    tunnel_protocols = {pb.NONE: TunnelProtocol.NONE, pb.HBONE: TunnelProtocol.HBONE}
    if wire.tunnel_protocol not in tunnel_protocols:
        raise ConfigError(key + "tunnel_protocol", wire.tunnel_protocol, "NONE or HBONE")
    return Workload(
        uid=text(key + "uid", wire.uid, required=True),
        name=text(key + "name", wire.name),
        namespace=segment(key + "namespace", wire.namespace),
        service_account=segment(key + "service_account", wire.service_account or "default"),
        trust_domain=segment(key + "trust_domain", wire.trust_domain or mesh_trust_domain),
        addresses=_addresses(key + "addresses", wire.addresses),
        node=text(key + "node", wire.node),
        tunnel_protocol=tunnel_protocols[wire.tunnel_protocol],
        network=text(key + "network", wire.network),
        cluster=text(key + "cluster_id", wire.cluster_id),
        host_network=wire.network_mode == pb.HOST_NETWORK,
        healthy=wire.status == pb.HEALTHY,
        canonical_name=text(key + "canonical_name", wire.canonical_name),
        canonical_revision=text(key + "canonical_revision", wire.canonical_revision),
        workload_name=text(key + "workload_name", wire.workload_name),
        services={
            _qualified(key + "services", name): _ports_from_wire(f"{key}services[{name[:64]}]", ports.ports)
            for name, ports in sorted(wire.services.items())
        },
        hostname=text(key + "hostname", wire.hostname),
        locality=_locality(key + "locality", wire.locality),
        capacity=wire.capacity.value if wire.HasField("capacity") else 1,
        policies=tuple(_qualified(key + "authorization_policies", name) for name in wire.authorization_policies),
    )


def service_to_wire(service: Service) -> pb.Service:
    return pb.Service(
        name=service.name,
        namespace=service.namespace,
        hostname=service.hostname,
        addresses=[pb.NetworkAddress(network=service.network, address=ip.packed) for ip in service.addresses],
        ports=_ports_to_wire(service.ports),
        load_balancing=load_balancing_to_wire(service.load_balancing),
        extensions=extensions_to_wire(service.load_balancing),
        subject_alt_names=service.subject_alt_names,
    )


def service_from_wire(wire: pb.Service) -> Service:
    """Reads a service that a control plane sent.

    Raises:
        ConfigError: a field is not what it must be; `key` is "service.<field>".
    """
    key = "service."
    check_size(key + "subject_alt_names", len(wire.subject_alt_names), MAX_SUBJECT_ALT_NAMES)
    networks = sorted({address.network for address in wire.addresses})
    if len(networks) > 1:
        raise ConfigError(key + "addresses", [name[:64] for name in networks[:4]], "addresses of one network")
    return Service(
        name=text(key + "name", wire.name),
        namespace=segment(key + "namespace", wire.namespace),
        hostname=segment(key + "hostname", wire.hostname),
        addresses=_addresses(key + "addresses", [address.address for address in wire.addresses]),
        ports=_ports_from_wire(key + "ports", wire.ports),
        network=text(key + "addresses.network", networks[0]) if networks else "",
        load_balancing=load_balancing_from_wire(key, wire),
        subject_alt_names=tuple(text(key + "subject_alt_names", name, required=True) for name in wire.subject_alt_names),
    )


def _locality_to_wire(locality: Locality) -> pb.Locality | None:
    """Returns None where nothing is known: no field says that."""
    return pb.Locality(region=locality.region, zone=locality.zone, subzone=locality.subzone) if locality != Locality() else None


def _locality(key: str, wire: pb.Locality) -> Locality:
    return Locality(*(text(f"{key}.{name}", getattr(wire, name)) for name in ("region", "zone", "subzone")))


def _ports_to_wire(ports: Iterable[PortMapping]) -> list[pb.Port]:
    return [pb.Port(service_port=port.service_port, target_port=port.target_port) for port in ports]


def _ports_from_wire(key: str, ports: Iterable[pb.Port]) -> tuple[PortMapping, ...]:
    mappings = tuple(PortMapping(port.service_port, port.target_port) for port in ports)
    check_size(key, len(mappings), MAX_PORTS)
    for mapping in mappings:
        if not (0 < mapping.service_port <= 65535 and mapping.target_port <= 65535):
            raise ConfigError(key, f"{mapping.service_port}:{mapping.target_port}", "a service port 1-65535 and a target port 0-65535")
    return mappings


def _addresses(key: str, packed: Iterable[bytes]) -> tuple[IPAddress, ...]:
    addresses = tuple(_address(key, one) for one in packed)
    check_size(key, len(addresses), MAX_ADDRESSES)
    return addresses


def _address(key: str, packed: bytes) -> IPAddress:
    if len(packed) == 4:
        return IPv4Address(packed)
    if len(packed) == 16 and (ip := IPv6Address(packed)).ipv4_mapped is None:
        return ip
    raise ConfigError(key, packed[:32].hex(), "4 bytes, or 16 that are no IPv4-mapped address")


def _qualified(key: str, value: str) -> str:
    """Checks "namespace/hostname" or "namespace/name"."""
    namespace, _, hostname = value.partition("/")
    segment(key, namespace)
    segment(key, hostname)
    return value
