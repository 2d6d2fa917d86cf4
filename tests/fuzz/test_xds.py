"""Whatever a control plane sends as a delta response: checked resources and reasons, and never an exception."""

from envoy.service.discovery.v3 import discovery_pb2 as xds
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from mesh.model import Service, Workload
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names
from ztunnel.discovery import wire
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
