"""Delta xDS messages: what we say, and what we take."""

from envoy.service.discovery.v3 import discovery_pb2 as xds

from mesh.model import Service, Workload
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names, service_to_wire, workload_to_wire
from tests.unit.ztunnel.fakes import NODE, service, workload
from ztunnel.discovery import wire


def packed(resource: Workload | Service, name: str = "", type_url: str = wire.ADDRESS_TYPE) -> xds.Resource:
    address = (
        pb.Address(workload=workload_to_wire(resource)) if isinstance(resource, Workload) else pb.Address(service=service_to_wire(resource))
    )
    result = xds.Resource(name=name or resource_names(resource)[0], version="7")
    result.resource.type_url = type_url
    result.resource.value = address.SerializeToString()
    return result


def response(*resources: xds.Resource, removed: tuple[str, ...] = (), type_url: str = wire.ADDRESS_TYPE) -> xds.DeltaDiscoveryResponse:
    return xds.DeltaDiscoveryResponse(type_url=type_url, nonce="1", resources=resources, removed_resources=removed)


def test_the_first_request_names_the_node_and_what_is_held() -> None:
    request = wire.first_request(NODE, frozenset({"b", "a"}), {"a": "7"})
    assert request.type_url == "type.googleapis.com/istio.workload.Address"
    assert list(request.resource_names_subscribe) == ["a", "b"]
    assert dict(request.initial_resource_versions) == {"a": "7"}
    assert request.node.id.split("~")[0] == "ztunnel"
    assert request.node.metadata["NODE_NAME"] == "n1"


def test_wanting_nothing_is_not_wanting_everything() -> None:
    request = wire.first_request(NODE, frozenset(), {})
    assert (list(request.resource_names_subscribe), list(request.resource_names_unsubscribe)) == (["*"], ["*"])
    everything = wire.first_request(NODE, frozenset({wire.WILDCARD}), {})
    assert (list(everything.resource_names_subscribe), list(everything.resource_names_unsubscribe)) == (["*"], [])


def test_resources_are_read_with_their_versions() -> None:
    pod, web = workload("web-1", "10.0.0.1"), service("web", "10.96.0.1")
    update, reasons = wire.read_response(response(packed(pod), packed(web), removed=("/10.0.0.9",)), "cluster.local")
    assert [(upsert.name, upsert.version, upsert.resource) for upsert in update.upserts] == [(pod.uid, "7", pod), (web.key, "7", web)]
    assert (update.removed, reasons) == (("/10.0.0.9",), ())


def test_a_bad_resource_is_named_and_the_others_are_taken() -> None:
    pod = workload("web-1", "10.0.0.1")
    broken = xds.Resource(name="broken")
    broken.resource.type_url = wire.ADDRESS_TYPE
    broken.resource.value = b"\xff"
    empty = xds.Resource(name="empty")
    empty.resource.type_url = wire.ADDRESS_TYPE
    lying = packed(workload("web-2", "10.0.0.2"), name="Kubernetes//Pod/shop/web-9")
    foreign = packed(pod, type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster")
    update, reasons = wire.read_response(response(broken, empty, packed(pod), lying, foreign), "cluster.local")
    assert [upsert.name for upsert in update.upserts] == [pod.uid]
    assert len(reasons) == 4
    assert "web-9" in reasons[2]


def test_a_response_of_another_type_is_refused_whole() -> None:
    update, reasons = wire.read_response(response(packed(workload("a", "10.0.0.1")), type_url="x"), "cluster.local")
    assert (update.upserts, len(reasons)) == ((), 1)


def test_a_name_that_comes_twice_means_its_last_value() -> None:
    update, _ = wire.read_response(response(packed(workload("a", "10.0.0.1")), packed(workload("a", "10.0.0.2"))), "cluster.local")
    assert [str(upsert.resource.addresses[0]) for upsert in update.upserts] == ["10.0.0.2"]


def test_a_rejection_gives_reasons_but_not_without_end() -> None:
    assert not wire.ack_request("5").HasField("error_detail")
    rejection = wire.ack_request("5", tuple(f"reason {number}" for number in range(100)))
    assert (rejection.response_nonce, rejection.error_detail.code) == ("5", 3)
    assert rejection.error_detail.message.endswith("reason 7; and 92 more")
