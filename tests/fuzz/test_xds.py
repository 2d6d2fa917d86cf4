"""Whatever a control plane sends as a delta response: checked resources and reasons, and never an exception."""

from ipaddress import ip_address

from envoy.service.discovery.v3 import discovery_pb2 as xds
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from mesh.model import Service, SocketAddress, Workload
from mesh.policy.evaluation import PolicyBook
from mesh.policy.model import Connection
from mesh.wire import authorization_pb2 as policy_pb
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names
from tests.unit.ztunnel.fakes import NODE
from ztunnel.discovery import wire
from ztunnel.discovery.policies import Policies
from ztunnel.discovery.store import Store

texts = st.text(max_size=30) | st.sampled_from(["", "a", "shop", "/", "*", "a b", "a\nb", "x" * 2000])
packed_ips = st.binary(max_size=20) | st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
ports = st.lists(st.builds(pb.Port, service_port=st.integers(0, 2**32 - 1), target_port=st.integers(0, 2**32 - 1)), max_size=3)
workloads = st.builds(
    pb.Workload,
    uid=texts,
    name=texts,
    namespace=texts,
    service_account=texts,
    trust_domain=texts,
    network=texts,
    addresses=st.lists(packed_ips, max_size=3),
    tunnel_protocol=st.integers(0, 3),
    services=st.dictionaries(texts, ports.map(lambda found: pb.PortList(ports=found)), max_size=2),
)
services = st.builds(
    pb.Service,
    name=texts,
    namespace=texts,
    hostname=texts,
    addresses=st.lists(st.builds(pb.NetworkAddress, network=texts, address=packed_ips), max_size=3),
    ports=ports,
)
addresses = st.one_of(
    workloads.map(lambda one: pb.Address(workload=one)), services.map(lambda one: pb.Address(service=one)), st.just(pb.Address())
).map(lambda address: address.SerializeToString())


@st.composite
def responses(draw: st.DrawFn) -> xds.DeltaDiscoveryResponse:
    response = xds.DeltaDiscoveryResponse(type_url=wire.ADDRESS_TYPE, nonce="1", removed_resources=draw(st.lists(texts, max_size=3)))
    for body in draw(st.lists(addresses | st.binary(max_size=60), max_size=4)):
        resource = response.resources.add(name=draw(texts), version=draw(texts))
        resource.resource.type_url = wire.ADDRESS_TYPE
        resource.resource.value = body
        if draw(st.booleans()):
            resource.name = honest_name(body) or resource.name
    return response


def honest_name(body: bytes) -> str:
    """Returns the name that the checks will compare with, so that some resources get past them."""
    try:
        address = pb.Address.FromString(body)
    except DecodeError:
        return ""
    return address.workload.uid or f"{address.service.namespace}/{address.service.hostname}"


@given(st.lists(responses(), max_size=3))
def test_any_responses(sent: list[xds.DeltaDiscoveryResponse]) -> None:
    store = Store()
    for response in sent:
        update, reasons = wire.read_addresses(response, "cluster.local")
        assert len(update.upserts) + len(reasons) <= len(response.resources)
        store.apply(update)
        wire.ack_request(response.nonce, reasons).SerializeToString()
    for resource in store.resources():
        assert isinstance(resource, Workload | Service)
        assert all(character.isprintable() for character in resource_names(resource)[0])


matches = st.builds(
    policy_pb.Match,
    namespaces=st.lists(st.builds(policy_pb.StringMatch, exact=texts) | st.builds(policy_pb.StringMatch, prefix=texts), max_size=2),
    source_ips=st.lists(st.builds(policy_pb.Address, address=packed_ips, length=st.integers(0, 200)), max_size=2),
    not_destination_ports=st.lists(st.integers(0, 2**32 - 1), max_size=2),
)
policies = st.builds(
    policy_pb.Authorization,
    name=st.sampled_from("ab") | texts,
    namespace=st.sampled_from(["shop", "root"]) | texts,
    scope=st.integers(0, 4),
    action=st.integers(0, 3),
    groups=st.lists(
        st.builds(policy_pb.Group, rules=st.lists(st.builds(policy_pb.Rules, matches=st.lists(matches, max_size=2)), max_size=2)),
        max_size=2,
    ),
)
CONNECTION = Connection(SocketAddress(ip_address("10.0.2.1"), 0), None, SocketAddress(ip_address("10.0.1.1"), 80))


@st.composite
def policy_responses(draw: st.DrawFn) -> xds.DeltaDiscoveryResponse:
    removed = draw(st.lists(texts | st.sampled_from(["shop/a", "root/b"]), max_size=3))
    response = xds.DeltaDiscoveryResponse(type_url=wire.AUTHORIZATION_TYPE, nonce="1", removed_resources=removed)
    for one in draw(st.lists(policies | st.binary(max_size=40), max_size=4)):
        body = one if isinstance(one, bytes) else one.SerializeToString()
        honest = "" if isinstance(one, bytes) else f"{one.namespace}/{one.name}"
        resource = response.resources.add(name=draw(st.just(honest) | texts), version=draw(texts))
        resource.resource.type_url = draw(st.just(wire.AUTHORIZATION_TYPE) | texts)
        resource.resource.value = body[: draw(st.just(len(body)) | st.integers(0, len(body)))]
    return response


@given(st.lists(policy_responses(), max_size=4))
def test_any_policies(sent: list[xds.DeltaDiscoveryResponse]) -> None:
    """Each resource is held, or refused by name; what was refused and never held denies."""
    held = Policies(PolicyBook("cluster.local"), "root")
    for response in sent:
        update, reasons = wire.read_policies(response)
        names = {resource.name for resource in response.resources}
        assert {upsert.policy.key for upsert in update.upserts} | update.refused.keys() == names
        assert all(len(reason) <= wire.MAX_REASON_LENGTH for reason in reasons)
        held.apply(update)
        wire.ack_request(response.nonce, reasons, response.type_url).SerializeToString()
        wire.first_request(NODE, frozenset("*"), held.versions(), wire.AUTHORIZATION_TYPE).SerializeToString()
        for name in held.refused:
            namespace, slash, _ = name.partition("/")
            assert held.get(name) is not None or not held.decide(CONNECTION, namespace if slash else "shop", ()).allowed
