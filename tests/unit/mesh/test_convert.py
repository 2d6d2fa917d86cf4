"""The model goes over the wire and comes back; what is not the model's is refused by field."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ConfigError
from mesh.model import BalancingMode, LoadBalancing, Locality, PortMapping, RoutingScope, Service, TunnelProtocol, Workload
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import address_rank, resource_names, service_from_wire, service_to_wire, workload_from_wire, workload_to_wire

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
    hostname=names | st.just(""),
    locality=st.builds(Locality, names | st.just(""), names, names),
    capacity=st.integers(0, 2**32 - 1),
    policies=st.lists(keys, max_size=3).map(tuple),
)
balancing = st.builds(
    LoadBalancing,
    preference=st.lists(st.sampled_from(RoutingScope), unique=True).map(tuple),
    mode=st.sampled_from(BalancingMode),
    unready_too=st.booleans(),
    affinity_s=st.integers(0, 86_400),
)
services = st.builds(
    Service,
    name=names,
    namespace=names,
    hostname=names,
    addresses=addresses.filter(bool),
    ports=ports,
    network=names,
    load_balancing=balancing,
    subject_alt_names=st.lists(names, max_size=2).map(tuple),
)


@given(workloads)
def test_workloads_come_back(workload: Workload) -> None:
    sent = workload_to_wire(workload).SerializeToString()
    assert workload_from_wire(pb.Workload.FromString(sent), "other") == workload


@given(services)
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
        (valid(hostname="a b"), "workload.hostname"),
        (valid(hostname="x" * 1025), "workload.hostname"),
        (valid(locality=pb.Locality(zone="z\n")), "workload.locality.zone"),
        (valid(authorization_policies=["web"]), "workload.authorization_policies"),
        (valid(authorization_policies=["a/b/c"]), "workload.authorization_policies"),
        (valid(authorization_policies=["a/b"] * 4097), "workload.authorization_policies"),
    ],
)
def test_hostile_workloads(wire: pb.Workload, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        workload_from_wire(wire, "cluster.local")
    assert refused.value.key == key


def balanced(**balancing: Any) -> pb.Service:
    return pb.Service(hostname="a", namespace="b", load_balancing=pb.LoadBalancing(**balancing))


def extended(message: Message) -> pb.Service:
    config = any_pb2.Any()
    config.Pack(message)
    return pb.Service(hostname="a", namespace="b", extensions=[pb.Extension(name="ambient.io/session-affinity", config=config)])


BROKEN = pb.Extension(
    name="ambient.io/session-affinity", config=any_pb2.Any(type_url="type.googleapis.com/istio.workload.SessionAffinity", value=b"\xff")
)


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
        (pb.Service(hostname="a", namespace="b", subject_alt_names=[""]), "service.subject_alt_names"),
        (pb.Service(hostname="a", namespace="b", subject_alt_names=["a"] * 257), "service.subject_alt_names"),
        (balanced(routing_preference=[7]), "service.load_balancing.routing_preference"),
        (balanced(routing_preference=[0]), "service.load_balancing.routing_preference"),
        (balanced(routing_preference=[1] * 7), "service.load_balancing.routing_preference"),
        (balanced(mode=9), "service.load_balancing.mode"),
        (balanced(health_policy=2), "service.load_balancing.health_policy"),
        (extended(pb.SessionAffinity(timeout_seconds=86_401)), "service.extensions"),
        (extended(pb.Workload(uid="u")), "service.extensions"),
        (pb.Service(hostname="a", namespace="b", extensions=[BROKEN]), "service.extensions"),
        (pb.Service(hostname="a", namespace="b", extensions=[pb.Extension(name="x")] * 65), "service.extensions"),
    ],
)
def test_hostile_services(wire: pb.Service, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        service_from_wire(wire)
    assert refused.value.key == key


def test_extensions_of_others_are_passed_over() -> None:
    wire = pb.Service(hostname="a", namespace="b", extensions=[pb.Extension(name="example.com/other", config=any_pb2.Any(value=b"\xff"))])
    assert service_from_wire(wire).load_balancing == LoadBalancing()


def test_names() -> None:
    ips = (IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))
    workload = Workload("u", "a", "shop", "default", "td", ips, "n", network="net")
    assert resource_names(workload) == ("u", ("net/10.0.0.1", "net/fd00::1"))
    assert resource_names(Service("web", "shop", "web.example", ips[:1], ())) == ("shop/web.example", ("/10.0.0.1",))


def test_a_workload_on_the_nodes_network_has_no_address_of_its_own() -> None:
    workload = Workload("u", "a", "shop", "default", "td", (IPv4Address("10.0.0.1"),), "n", host_network=True)
    assert resource_names(workload) == ("u", ())


def test_an_address_means_a_service_then_what_is_tunnelled_to_then_the_first_by_name() -> None:
    ips = (IPv4Address("10.0.0.1"),)
    service = Service("web", "shop", "web.example", ips, ())
    plain, other = (Workload(uid, uid, "shop", "default", "td", ips, "n") for uid in ("a", "b"))
    tunnelled = Workload("z", "z", "shop", "default", "td", ips, "n", tunnel_protocol=TunnelProtocol.HBONE)
    assert sorted([other, plain, tunnelled, service], key=address_rank) == [service, tunnelled, plain, other]


@pytest.mark.parametrize("protocol", TunnelProtocol)
def test_an_address_of_a_pod_means_the_pod_whoever_else_says_that_it_is_his(protocol: TunnelProtocol) -> None:
    ips = (IPv4Address("10.0.0.1"),)
    pod = Workload("zzz//Pod/shop/web", "web", "shop", "default", "td", ips, "n", tunnel_protocol=protocol)
    uid = "aaa/networking.istio.io/WorkloadEntry/aaa/thief"
    thief = Workload(uid, "thief", "aaa", "default", "td", ips, "", tunnel_protocol=TunnelProtocol.HBONE)
    assert min([thief, pod], key=address_rank) == pod
