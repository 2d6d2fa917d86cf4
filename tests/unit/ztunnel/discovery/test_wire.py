"""Delta xDS messages: what we say, and what we take."""

from envoy.service.discovery.v3 import discovery_pb2 as xds

from mesh.model import Service, Workload
from mesh.policy.model import Authorization, PolicyAction, PolicyScope
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names, service_to_wire, workload_to_wire
from mesh.wire.policies import authorization_to_wire
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


def packed_policy(policy: Authorization, name: str = "", version: str = "7") -> xds.Resource:
    result = xds.Resource(name=name or policy.key, version=version)
    result.resource.type_url = wire.AUTHORIZATION_TYPE
    result.resource.value = authorization_to_wire(policy).SerializeToString()
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
    update, reasons = wire.read_addresses(response(packed(pod), packed(web), removed=("/10.0.0.9",)), "cluster.local")
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
    update, reasons = wire.read_addresses(response(broken, empty, packed(pod), lying, foreign), "cluster.local")
    assert [upsert.name for upsert in update.upserts] == [pod.uid]
    assert len(reasons) == 4
    assert "web-9" in reasons[2]


def test_the_rejection_of_an_unknown_type_asks_for_nothing_of_it() -> None:
    rejection = wire.reject_type(response(type_url="type.googleapis.com/x"))
    assert (rejection.type_url, rejection.response_nonce, rejection.error_detail.code) == ("type.googleapis.com/x", "1", 3)
    assert list(rejection.resource_names_subscribe) == list(rejection.resource_names_unsubscribe) == ["*"]
    assert "expected type.googleapis.com/istio.workload.Address or" in rejection.error_detail.message
    assert len(wire.reject_type(response(type_url="x" * 5000)).error_detail.message) < 500


def test_a_name_that_comes_twice_means_its_last_value() -> None:
    update, _ = wire.read_addresses(response(packed(workload("a", "10.0.0.1")), packed(workload("a", "10.0.0.2"))), "cluster.local")
    assert [str(upsert.resource.addresses[0]) for upsert in update.upserts] == ["10.0.0.2"]


def test_a_rejection_gives_reasons_but_not_without_end() -> None:
    assert not wire.ack_request("5").HasField("error_detail")
    rejection = wire.ack_request("5", tuple(f"reason {number}" for number in range(100)))
    assert (rejection.response_nonce, rejection.error_detail.code) == ("5", 3)
    assert rejection.error_detail.message.endswith("reason 7; and 92 more")


POLICY = Authorization("a", "shop", PolicyScope.NAMESPACE, PolicyAction.ALLOW, ())


def test_policies_are_read_and_bad_ones_named() -> None:
    cut = packed_policy(Authorization("cut", "shop", PolicyScope.MESH, PolicyAction.DENY, ()))
    cut.resource.value = cut.resource.value[:-1]
    lying = packed_policy(POLICY, name="shop/other")
    foreign = packed(workload("web-1", "10.0.0.1"))
    unknown = packed_policy(POLICY, name="shop/unknown")
    unknown.resource.value += b"\x18\x63"  # scope 99
    answer = response(packed_policy(POLICY), cut, lying, foreign, unknown, removed=("shop/gone",), type_url=wire.AUTHORIZATION_TYPE)
    update, reasons = wire.read_policies(answer)
    assert [(upsert.version, upsert.policy) for upsert in update.upserts] == [("7", POLICY)]
    assert update.removed == ("shop/gone",)
    assert set(update.refused) == {"shop/cut", "shop/other", "Kubernetes//Pod/shop/web-1", "shop/unknown"}
    assert len(reasons) == 4
    assert "scope" in update.refused["shop/unknown"]


def test_a_policy_that_comes_twice_means_its_last_value_good_or_bad() -> None:
    bad = packed_policy(POLICY)
    bad.resource.value = b"\xff"
    update, reasons = wire.read_policies(response(packed_policy(POLICY), bad, type_url=wire.AUTHORIZATION_TYPE))
    assert (update.upserts, set(update.refused), len(reasons)) == ((), {POLICY.key}, 1)
    update, reasons = wire.read_policies(response(bad, packed_policy(POLICY), type_url=wire.AUTHORIZATION_TYPE))
    assert ([upsert.policy for upsert in update.upserts], update.refused, reasons) == ([POLICY], {}, ())
