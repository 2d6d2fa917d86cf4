"""The model goes over the wire and comes back; what is not the model's is refused by field."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ConfigError
from mesh.model import PortMapping, Service, TunnelProtocol, Workload
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names, service_from_wire, service_to_wire, workload_from_wire, workload_to_wire

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=20)
addresses = st.lists(st.ip_addresses().filter(lambda ip: ip.version == 4 or ip.ipv4_mapped is None), max_size=4).map(tuple)
ports = st.lists(st.builds(PortMapping, st.integers(1, 65535), st.integers(0, 65535)), max_size=4).map(tuple)
keys = st.builds("{}/{}".format, names, names)
workloads = st.builds(
    Workload,
    uid=names,
    name=names,
    namespace=names,
    service_account=names,
    trust_domain=names,
    addresses=addresses,
    node=names,
    tunnel_protocol=st.sampled_from(TunnelProtocol),
    network=names,
    cluster=names,
    host_network=st.booleans(),
    healthy=st.booleans(),
    canonical_name=names,
    canonical_revision=names,
    workload_name=names,
    services=st.dictionaries(keys, ports, max_size=3),
)


@given(workloads)
def test_workloads_come_back(workload: Workload) -> None:
    sent = workload_to_wire(workload).SerializeToString()
    assert workload_from_wire(pb.Workload.FromString(sent), "other") == workload


@given(st.builds(Service, name=names, namespace=names, hostname=names, addresses=addresses.filter(bool), ports=ports, network=names))
def test_services_come_back(service: Service) -> None:
    sent = service_to_wire(service).SerializeToString()
    assert service_from_wire(pb.Service.FromString(sent)) == service


def test_what_a_control_plane_leaves_out_has_the_meshs_defaults() -> None:
    workload = workload_from_wire(pb.Workload(uid="u", namespace="shop"), "mesh.example")
    assert str(workload.identity) == "spiffe://mesh.example/ns/shop/sa/default"
    assert (workload.healthy, workload.host_network, workload.tunnel_protocol) == (True, False, TunnelProtocol.NONE)


def valid(**changes: object) -> pb.Workload:
    return pb.Workload(**{"uid": "u", "namespace": "shop", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wire", "key"),
    [
        (valid(uid=""), "workload.uid"),
        (valid(uid="a\nb"), "workload.uid"),
        (valid(uid="u" * 1025), "workload.uid"),
        (valid(name="a b"), "workload.name"),
        (valid(namespace=""), "workload.namespace"),
        (valid(namespace="shop/sa/admin"), "workload.namespace"),
        (valid(service_account="x/y"), "workload.service_account"),
        (valid(trust_domain="td/ns/x"), "workload.trust_domain"),
        (valid(addresses=[b"123"]), "workload.addresses"),
        (valid(addresses=[IPv6Address("::ffff:10.0.0.1").packed]), "workload.addresses"),
        (valid(addresses=[bytes(4)] * 65), "workload.addresses"),
        (valid(tunnel_protocol=7), "workload.tunnel_protocol"),
        (valid(services={"nohost": pb.PortList()}), "workload.services"),
        (valid(services={"a/b/c": pb.PortList()}), "workload.services"),
        (valid(services={f"a/{n}": pb.PortList() for n in range(4097)}), "workload.services"),
        (valid(services={"a/b": pb.PortList(ports=[pb.Port(service_port=0)])}), "workload.services[a/b]"),
        (valid(services={"a/b": pb.PortList(ports=[pb.Port(service_port=80, target_port=65536)])}), "workload.services[a/b]"),
    ],
)
def test_hostile_workloads(wire: pb.Workload, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        workload_from_wire(wire, "cluster.local")
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("wire", "key"),
    [
        (pb.Service(namespace="a"), "service.hostname"),
        (pb.Service(hostname="a", namespace="b/c"), "service.namespace"),
        (pb.Service(hostname="a", namespace="b", ports=[pb.Port(service_port=1)] * 1025), "service.ports"),
        (
            pb.Service(hostname="a", namespace="b", addresses=[pb.NetworkAddress(network=n, address=bytes(4)) for n in "xy"]),
            "service.addresses",
        ),
        (pb.Service(hostname="a", namespace="b", addresses=[pb.NetworkAddress(address=b"")]), "service.addresses"),
    ],
)
def test_hostile_services(wire: pb.Service, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        service_from_wire(wire)
    assert refused.value.key == key


def test_names() -> None:
    ips = (IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))
    workload = Workload("u", "a", "shop", "default", "td", ips, "n", network="net")
    assert resource_names(workload) == ("u", ("net/10.0.0.1", "net/fd00::1"))
    assert resource_names(Service("web", "shop", "web.example", ips[:1], ())) == ("shop/web.example", ("/10.0.0.1",))


def test_a_workload_on_the_nodes_network_has_no_address_of_its_own() -> None:
    workload = Workload("u", "a", "shop", "default", "td", (IPv4Address("10.0.0.1"),), "n", host_network=True)
    assert resource_names(workload) == ("u", ())
