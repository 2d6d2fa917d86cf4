"""Services and workloads from the wire, hostile: whole, or refused by field with ConfigError; cut anywhere too."""

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import UInt32Value
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ConfigError
from mesh.model import LoadBalancing
from mesh.wire import workload_pb2 as pb
from mesh.wire.balancing import SESSION_AFFINITY
from mesh.wire.convert import service_from_wire, service_to_wire, workload_from_wire, workload_to_wire

short = st.text(max_size=4) | st.sampled_from(["", "a", "shop", "a/b", "a b", "x" * 1025])
uint32 = st.integers(0, 2**32 - 1)
configs = st.builds(
    any_pb2.Any,
    type_url=st.sampled_from(["type.googleapis.com/istio.workload.SessionAffinity", "type.googleapis.com/x", ""]),
    value=st.binary(max_size=6) | uint32.map(lambda seconds: pb.SessionAffinity(timeout_seconds=seconds).SerializeToString()),
)
balancing = st.builds(
    pb.LoadBalancing,
    routing_preference=st.lists(st.integers(0, 9), max_size=8),
    mode=st.integers(0, 5),
    health_policy=st.integers(0, 3),
)
services = st.builds(
    pb.Service,
    name=short,
    namespace=short,
    hostname=short,
    addresses=st.lists(st.builds(pb.NetworkAddress, network=short, address=st.binary(max_size=17)), max_size=2),
    ports=st.lists(st.builds(pb.Port, service_port=uint32, target_port=uint32), max_size=2),
    subject_alt_names=st.lists(short, max_size=2),
    load_balancing=st.none() | balancing,
    extensions=st.lists(st.builds(pb.Extension, name=st.sampled_from([SESSION_AFFINITY, "x"]), config=configs), max_size=3),
)
workloads = st.builds(
    pb.Workload,
    uid=short,
    namespace=short,
    hostname=short,
    authorization_policies=st.lists(short, max_size=3),
    locality=st.none() | st.builds(pb.Locality, region=short, zone=short, subzone=short),
    capacity=st.none() | st.builds(UInt32Value, value=uint32),
)


def take_service(wire: pb.Service) -> None:
    try:
        service = service_from_wire(wire)
    except ConfigError as error:
        refused = error
    else:
        assert 0 <= service.load_balancing.affinity_s <= 86_400
        assert isinstance(service.load_balancing, LoadBalancing)
        assert service_from_wire(service_to_wire(service)) == service
        return
    assert refused.key.startswith("service.")
    assert len(str(refused)) < 1000


def take_workload(wire: pb.Workload) -> None:
    try:
        workload = workload_from_wire(wire, "cluster.local")
    except ConfigError as error:
        refused = error
    else:
        assert all(policy.count("/") == 1 for policy in workload.policies)
        assert workload_from_wire(workload_to_wire(workload), "other") == workload
        return
    assert refused.key.startswith("workload.")
    assert len(str(refused)) < 1000


@given(services)
def test_any_service(wire: pb.Service) -> None:
    take_service(wire)


@given(workloads)
def test_any_workload(wire: pb.Workload) -> None:
    take_workload(wire)


@given(services, workloads)
def test_cut_anywhere_and_with_any_byte_changed(service: pb.Service, workload: pb.Workload) -> None:
    body = pb.Address(service=service).SerializeToString() + pb.Address(workload=workload).SerializeToString()
    for end in range(len(body)):
        for damaged in (body[:end], body[:end] + bytes((body[end] ^ 0xFF,)) + body[end + 1 :]):
            try:
                address = pb.Address.FromString(damaged)
            except DecodeError:
                continue
            take_service(address.service)
            take_workload(address.workload)
