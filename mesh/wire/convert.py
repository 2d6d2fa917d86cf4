"""Between the model and the xDS resource istio.workload.Address. What comes from the wire is hostile and is checked here."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from mesh.errors import ConfigError
from mesh.model import IPAddress, PortMapping, Service, TunnelProtocol, Workload
from mesh.wire import workload_pb2 as pb

# A uid joins a cluster, two kinds of names and a path: several DNS names of up to 253 characters each.
MAX_NAME_LENGTH = 1024
# One dual-stack pod has 2; multi-homed ones a few more. It bounds what one resource can add to an address table.
MAX_ADDRESSES = 64
# Kubernetes itself holds no service of so many ports, and no pod behind so many services.
MAX_PORTS = 1024
MAX_SERVICES = 4096


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
    )


def workload_from_wire(wire: pb.Workload, mesh_trust_domain: str) -> Workload:
    """Reads a workload that a control plane sent.

    Args:
        mesh_trust_domain: what an empty trust domain stands for.
    Raises:
        ConfigError: a field is not what it must be; `key` is "workload.<field>".
    """
    key = "workload."
    _check_size(key + "services", len(wire.services), MAX_SERVICES)
    tunnel_protocols = {pb.NONE: TunnelProtocol.NONE, pb.HBONE: TunnelProtocol.HBONE}
    if wire.tunnel_protocol not in tunnel_protocols:
        raise ConfigError(key + "tunnel_protocol", wire.tunnel_protocol, "NONE or HBONE")
    return Workload(
        uid=_text(key + "uid", wire.uid, required=True),
        name=_text(key + "name", wire.name),
        namespace=_segment(key + "namespace", wire.namespace),
        service_account=_segment(key + "service_account", wire.service_account or "default"),
        trust_domain=_segment(key + "trust_domain", wire.trust_domain or mesh_trust_domain),
        addresses=_addresses(key + "addresses", wire.addresses),
        node=_text(key + "node", wire.node),
        tunnel_protocol=tunnel_protocols[wire.tunnel_protocol],
        network=_text(key + "network", wire.network),
        cluster=_text(key + "cluster_id", wire.cluster_id),
        host_network=wire.network_mode == pb.HOST_NETWORK,
        healthy=wire.status == pb.HEALTHY,
        canonical_name=_text(key + "canonical_name", wire.canonical_name),
        canonical_revision=_text(key + "canonical_revision", wire.canonical_revision),
        workload_name=_text(key + "workload_name", wire.workload_name),
        services={
            _service_key(key + "services", name): _ports_from_wire(f"{key}services[{name[:64]}]", ports.ports)
            for name, ports in sorted(wire.services.items())
        },
    )


def service_to_wire(service: Service) -> pb.Service:
    return pb.Service(
        name=service.name,
        namespace=service.namespace,
        hostname=service.hostname,
        addresses=[pb.NetworkAddress(network=service.network, address=ip.packed) for ip in service.addresses],
        ports=_ports_to_wire(service.ports),
    )


def service_from_wire(wire: pb.Service) -> Service:
    """Reads a service that a control plane sent.

    Raises:
        ConfigError: a field is not what it must be; `key` is "service.<field>".
    """
    key = "service."
    networks = sorted({address.network for address in wire.addresses})
    if len(networks) > 1:
        raise ConfigError(key + "addresses", [name[:64] for name in networks[:4]], "addresses of one network")
    return Service(
        name=_text(key + "name", wire.name),
        namespace=_segment(key + "namespace", wire.namespace),
        hostname=_segment(key + "hostname", wire.hostname),
        addresses=_addresses(key + "addresses", [address.address for address in wire.addresses]),
        ports=_ports_from_wire(key + "ports", wire.ports),
        network=_text(key + "addresses.network", networks[0]) if networks else "",
    )


def _ports_to_wire(ports: Iterable[PortMapping]) -> list[pb.Port]:
    return [pb.Port(service_port=port.service_port, target_port=port.target_port) for port in ports]


def _ports_from_wire(key: str, ports: Iterable[pb.Port]) -> tuple[PortMapping, ...]:
    mappings = tuple(PortMapping(port.service_port, port.target_port) for port in ports)
    _check_size(key, len(mappings), MAX_PORTS)
    for mapping in mappings:
        if not (0 < mapping.service_port <= 65535 and mapping.target_port <= 65535):
            raise ConfigError(key, f"{mapping.service_port}:{mapping.target_port}", "a service port 1-65535 and a target port 0-65535")
    return mappings


def _addresses(key: str, packed: Iterable[bytes]) -> tuple[IPAddress, ...]:
    addresses = tuple(_address(key, one) for one in packed)
    _check_size(key, len(addresses), MAX_ADDRESSES)
    return addresses


def _address(key: str, packed: bytes) -> IPAddress:
    if len(packed) == 4:
        return IPv4Address(packed)
    if len(packed) == 16 and (ip := IPv6Address(packed)).ipv4_mapped is None:
        return ip
    raise ConfigError(key, packed[:32].hex(), "4 bytes, or 16 that are no IPv4-mapped address")


def _text(key: str, value: str, required: bool = False) -> str:
    """Checks a name that ends in log lines and keys: printable, without spaces, bounded."""
    if required and not value:
        raise ConfigError(key, value, "a name that is not empty")
    if len(value) > MAX_NAME_LENGTH or not value.isprintable() or " " in value:
        raise ConfigError(key, value[:64], f"at most {MAX_NAME_LENGTH} printable characters without spaces")
    return value


def _segment(key: str, value: str) -> str:
    """Checks a name that becomes one part of an identity or of a key: a "/" in it would forge another."""
    if "/" in value:
        raise ConfigError(key, value[:64], "a name without '/'")
    return _text(key, value, required=True)


def _service_key(key: str, value: str) -> str:
    namespace, _, hostname = value.partition("/")
    _segment(key, namespace)
    _segment(key, hostname)
    return value


def _check_size(key: str, size: int, limit: int) -> None:
    if size > limit:
        raise ConfigError(key, size, f"at most {limit} entries")
