"""The reducer of delta responses: what is found after each, and which decisions may have become wrong."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from mesh.model import Service, Workload
from tests.unit.ztunnel.fakes import name_of, service, store_of, update, workload
from ztunnel.discovery.store import Store

WEB = "shop/web.shop.svc.cluster.local"


def test_an_address_finds_its_owner() -> None:
    web, pod = service("web", "10.96.0.1"), workload("web-1", "10.0.0.1", "fd00::1", services={WEB: {80: 8080}})
    store = store_of(web, pod)
    assert store.find("", ip_address("10.96.0.1")) is web
    assert store.find("", ip_address("10.0.0.1")) is store.find("", ip_address("fd00::1")) is pod
    assert store.find("elsewhere", ip_address("10.0.0.1")) is None
    assert list(store.endpoints(WEB)) == [pod]
    assert (store.workload(pod.uid), store.service(WEB), store.workload(WEB), store.service(pod.uid)) == (pod, web, None, None)


def test_a_removal_by_name_or_by_address() -> None:
    pod = workload("web-1", "10.0.0.1", services={WEB: {80: 8080}})
    for name in (pod.uid, "/10.0.0.1"):
        store = store_of(service("web", "10.96.0.1"), pod)
        change = store.apply(update(removed=(name,)))
        assert change.touched
        assert {pod.uid, "/10.0.0.1"} <= change.gone
        assert store.find("", ip_address("10.0.0.1")) is None
        assert list(store.endpoints(WEB)) == []


def test_what_was_never_there_is_gone_and_nothing_was_touched() -> None:
    store = store_of(workload("web-1", "10.0.0.1"))
    generation = store.generation
    change = store.apply(update(removed=("/192.0.2.1",)))
    assert (change.gone, change.touched, store.generation) == (frozenset({"/192.0.2.1"}), False, generation)


def test_the_same_again_changes_nothing_but_the_version() -> None:
    pod = workload("web-1", "10.0.0.1")
    store = store_of(pod)
    generation = store.generation
    change = store.apply(update(pod, version="2"))
    assert (change.appeared, change.touched, store.generation) == (frozenset(), False, generation)
    assert store.versions() == {pod.uid: "2"}


def test_something_new_touches_nothing_that_was_decided() -> None:
    store = store_of(workload("web-1", "10.0.0.1"))
    new = workload("web-2", "10.0.0.2", services={WEB: {80: 8080}})
    change = store.apply(update(new, service("web", "10.96.0.1")))
    assert not change.touched, "the service came with this update: nobody balanced over it yet"
    assert change.appeared == {new.uid, "/10.0.0.2", WEB, "/10.96.0.1"}


def test_a_new_endpoint_of_a_known_service_touches() -> None:
    store = store_of(service("web", "10.96.0.1"))
    assert store.apply(update(workload("web-1", "10.0.0.1", services={WEB: {80: 8080}}))).touched


def test_a_changed_workload_touches_and_moves_its_addresses() -> None:
    store = store_of(workload("web-1", "10.0.0.1", services={WEB: {80: 8080}}))
    moved = workload("web-1", "10.0.0.9")
    assert store.apply(update(moved)).touched
    assert store.find("", ip_address("10.0.0.1")) is None
    assert store.find("", ip_address("10.0.0.9")) is moved
    assert list(store.endpoints(WEB)) == []


def test_an_address_that_goes_from_one_pod_to_the_next() -> None:
    old, new = workload("old", "10.0.0.1"), workload("new", "10.0.0.1")
    store = store_of(old)
    assert store.apply(update(new)).touched
    assert store.find("", ip_address("10.0.0.1")) is new
    change = store.apply(update(removed=(old.uid,)))
    assert store.find("", ip_address("10.0.0.1")) is new
    assert "/10.0.0.1" not in change.gone
    together = store_of(old)
    together.apply(update(new, removed=(old.uid,)))
    assert together.find("", ip_address("10.0.0.1")) is new


def test_pods_on_the_nodes_own_network_own_no_address() -> None:
    store = store_of(workload("agent", "172.30.0.1", host_network=True))
    assert store.find("", ip_address("172.30.0.1")) is None


def test_what_names_lead_to() -> None:
    pod, other = workload("web-1", "10.0.0.1", services={WEB: {80: 8080}}), workload("other", "10.0.0.2")
    store = store_of(service("web", "10.96.0.1"), pod, other)
    assert store.reachable(("/10.96.0.1", "/192.0.2.1")) == {WEB, pod.uid}
    assert store.reachable((other.uid,)) == {other.uid}
    assert store.forget(frozenset({WEB, pod.uid})) == {other.uid}
    assert not store.knows("/10.0.0.2")
    assert store.knows("/10.96.0.1")


ips = st.sampled_from([f"10.0.0.{number}" for number in range(1, 6)])
workloads = st.builds(
    lambda name, addresses, backs: workload(name, *addresses, services={key: {80: 8080} for key in backs}),
    st.sampled_from("abc"),
    st.lists(ips, max_size=3),
    st.sets(st.sampled_from([WEB, "shop/x"])),
)
services = st.builds(service, st.sampled_from(["web", "x"]), ips)
steps = st.lists(
    st.tuples(st.lists(workloads | services, max_size=3, unique_by=name_of), st.lists(ips.map("/{}".format) | st.sampled_from("abc")))
)


@given(steps)
def test_the_indexes_always_agree_with_the_resources(script: list[tuple[list[Workload | Service], list[str]]]) -> None:
    store = Store()
    for resources, removed in script:
        store.apply(update(*resources, removed=tuple(removed)))
        held = {name_of(resource): resource for resource in store.resources()}
        assert set(store.versions()) == set(held)
        for resource in resources:
            assert held[name_of(resource)] == resource
        for key in (WEB, "shop/x"):
            backing = {name for name, one in held.items() if isinstance(one, Workload) and key in one.services}
            assert {one.uid for one in store.endpoints(key)} == backing
        for number in range(1, 6):
            ip = ip_address(f"10.0.0.{number}")
            found = store.find("", ip)
            assert (found is None) == all(ip not in resource.addresses for resource in held.values())
            assert found is None or (ip in found.addresses and held[name_of(found)] is found)


@given(steps)
def test_untouched_means_that_nothing_known_changed(script: list[tuple[list[Workload | Service], list[str]]]) -> None:
    store = Store()
    for resources, removed in script:
        before = {ip: store.find("", ip) for ip in map(ip_address, (f"10.0.0.{number}" for number in range(1, 6)))}
        balanced = {owner.key: list(store.endpoints(owner.key)) for owner in before.values() if isinstance(owner, Service)}
        change = store.apply(update(*resources, removed=tuple(removed)))
        if not change.touched:
            assert all(store.find("", ip) is owner for ip, owner in before.items() if owner is not None)
            assert all(list(store.endpoints(key)) == endpoints for key, endpoints in balanced.items())
        for ip, owner in before.items():
            if owner is None and store.find("", ip) is not None:
                assert f"/{ip}" in change.appeared
