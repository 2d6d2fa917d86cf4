"""Where a connection goes: tables, and what holds for every view."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import NoHealthyUpstream, ResolutionError
from mesh.model import BalancingMode, IPAddress, LoadBalancing, PortMapping, RoutingScope, Service, SocketAddress, Workload
from mesh.routing import MAX_ADDRESSES_OF_NAME, AddressesOf, Endpoint, Passthrough, Route, hostnames_needed, resolve

KEY = "shop/web.shop.svc.cluster.local"


@dataclass
class Known:
    """A view of a few things, given in any order."""

    services: list[Service]
    workloads: list[Workload]

    def find(self, network: str, ip: IPAddress) -> Workload | Service | None:
        owners: Iterable[Workload | Service] = (*self.services, *self.workloads)
        return next((one for one in owners if one.network == network and ip in one.addresses), None)

    def endpoints(self, service_key: str) -> Iterable[Workload]:
        return (one for one in self.workloads if service_key in one.services)


def workload(name: str, *ips: str, target: int | None = 8080, healthy: bool = True) -> Workload:
    ports = () if target is None else (PortMapping(80, target),)
    addresses = tuple(map(ip_address, ips))
    return Workload(name, name, "shop", "default", "td", addresses, "n", healthy=healthy, services={KEY: ports})


def service(*ips: str, target: int = 8080) -> Service:
    return Service("web", "shop", "web.shop.svc.cluster.local", tuple(map(ip_address, ips)), (PortMapping(80, target), PortMapping(443, 0)))


def to(ip: str, port: int = 80) -> SocketAddress:
    return SocketAddress(ip_address(ip), port)


WEB = service("10.96.0.1", "fd00::96")
A = workload("a", "10.0.0.1", "fd00::1")
B = workload("b", "10.0.0.2", "fd00::2")


def test_a_stranger_is_passed_through_unchanged() -> None:
    assert resolve(Known([WEB], [A]), A, "", to("192.0.2.1", 9)) == Passthrough(to("192.0.2.1", 9))


def test_a_workload_is_reached_at_the_address_and_port_asked_for() -> None:
    assert resolve(Known([], [A]), None, "", to("fd00::1", 9)) == Route(None, (Endpoint(A, to("fd00::1", 9)),))


def test_a_workload_that_is_not_ready_is_reached_by_its_own_address() -> None:
    sick = replace(A, healthy=False)
    assert resolve(Known([], [sick]), None, "", to("10.0.0.1")) == Route(None, (Endpoint(sick, to("10.0.0.1")),))


@pytest.mark.parametrize(("virtual", "first", "second"), [("10.96.0.1", "10.0.0.1", "10.0.0.2"), ("fd00::96", "fd00::1", "fd00::2")])
def test_a_service_leads_to_its_endpoints_in_the_family_asked_for(virtual: str, first: str, second: str) -> None:
    route = resolve(Known([WEB], [B, A]), None, "", to(virtual))
    assert route == Route(WEB, (Endpoint(A, to(first, 8080)), Endpoint(B, to(second, 8080))))


def test_an_endpoint_without_the_family_asked_for_is_reached_in_another() -> None:
    only_six = workload("six", "fd00::6")
    assert resolve(Known([WEB], [only_six]), None, "", to("10.96.0.1")) == Route(WEB, (Endpoint(only_six, to("fd00::6", 8080)),))


@pytest.mark.parametrize(
    ("default", "own", "dialled"),
    [(8080, 9090, 9090), (8080, None, 8080), (0, 9090, 9090), (0, None, None)],
    ids=["its own port wins", "the service's port otherwise", "a named port that it has", "a named port that it lacks"],
)
def test_target_ports(default: int, own: int | None, dialled: int | None) -> None:
    view = Known([service("10.96.0.1", target=default)], [workload("a", "10.0.0.1", target=own)])
    if dialled is None:
        with pytest.raises(NoHealthyUpstream):
            resolve(view, None, "", to("10.96.0.1"))
    else:
        route = resolve(view, None, "", to("10.96.0.1"))
        assert isinstance(route, Route)
        assert [endpoint.address for endpoint in route.endpoints] == [to("10.0.0.1", dialled)]


@pytest.mark.parametrize(
    "workloads",
    [[], [replace(A, healthy=False)], [replace(A, addresses=())], [replace(A, network="other")]],
    ids=["none", "not ready", "without address", "on another network"],
)
def test_a_service_without_a_usable_endpoint(workloads: list[Workload]) -> None:
    with pytest.raises(NoHealthyUpstream, match=f"{KEY} .* port 80, which b asked for"):
        resolve(Known([WEB], workloads), B, "", to("10.96.0.1"))


def test_a_port_that_the_service_does_not_have() -> None:
    with pytest.raises(ResolutionError, match="no port 81") as refused:
        resolve(Known([WEB], [A]), None, "", to("10.96.0.1", 81))
    assert not isinstance(refused.value, NoHealthyUpstream)


def test_an_address_of_another_network_is_a_stranger() -> None:
    assert resolve(Known([WEB], [A]), None, "other", to("10.96.0.1")) == Passthrough(to("10.96.0.1"))


@given(order=st.permutations(range(6)), healthy=st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_answer_does_not_depend_on_the_order_of_the_view(order: list[int], healthy: list[bool]) -> None:
    workloads = [workload(f"w{number}", f"10.0.0.{number}", healthy=healthy[number]) for number in range(6)]
    expected = tuple(Endpoint(one, to(f"10.0.0.{number}", 8080)) for number, one in enumerate(workloads) if one.healthy)
    view = Known([WEB], [workloads[number] for number in order])
    if not expected:
        with pytest.raises(NoHealthyUpstream):
            resolve(view, None, "", to("10.96.0.1"))
    else:
        assert resolve(view, None, "", to("10.96.0.1")) == Route(WEB, expected)


NODE_FIRST = LoadBalancing((RoutingScope.NODE,), BalancingMode.FAILOVER)
NODE_ONLY = LoadBalancing((RoutingScope.NODE,), BalancingMode.STRICT)


def balanced(balancing: LoadBalancing) -> Service:
    return replace(WEB, load_balancing=balancing)


def names_of(route: Route | Passthrough) -> list[str]:
    assert isinstance(route, Route)
    return [endpoint.workload.name for endpoint in route.endpoints]


FAR = replace(B, node="m")


@pytest.mark.parametrize(
    ("balancing", "workloads", "taken"),
    [
        (LoadBalancing(), [A, FAR], ["a", "b"]),
        (NODE_FIRST, [A, FAR], ["a"]),
        (NODE_FIRST, [replace(A, healthy=False), FAR], ["b"]),
        (NODE_FIRST, [replace(A, capacity=0), FAR], ["b"]),
        (NODE_ONLY, [A, FAR], ["a"]),
        (replace(NODE_FIRST, unready_too=True), [replace(A, healthy=False), FAR], ["a"]),
        (LoadBalancing(unready_too=True), [replace(A, healthy=False), FAR], ["a", "b"]),
        (LoadBalancing(), [replace(A, capacity=0), FAR], ["b"]),
    ],
    ids=["all", "near", "near is not ready", "near takes none", "near alone", "near though not ready", "not ready too", "no capacity"],
)
def test_which_endpoints_a_service_prefers(balancing: LoadBalancing, workloads: list[Workload], taken: list[str]) -> None:
    assert names_of(resolve(Known([balanced(balancing)], workloads), A, "", to("10.96.0.1"))) == taken


@pytest.mark.parametrize("source", [replace(A, node="elsewhere"), None], ids=["elsewhere", "unknown"])
def test_strict_and_nobody_near_is_nobody(source: Workload | None) -> None:
    with pytest.raises(NoHealthyUpstream):
        resolve(Known([balanced(NODE_ONLY)], [A, B]), source, "", to("10.96.0.1"))


def test_weights_are_those_of_the_workloads_in_lowest_terms() -> None:
    route = resolve(Known([WEB], [replace(A, capacity=50), replace(B, capacity=100)]), None, "", to("10.96.0.1"))
    assert isinstance(route, Route)
    assert [endpoint.weight for endpoint in route.endpoints] == [1, 2]


def test_passthrough_goes_to_the_address_asked_for_under_the_services_name() -> None:
    service = balanced(LoadBalancing(mode=BalancingMode.PASSTHROUGH))
    assert resolve(Known([service], [A]), None, "", to("10.96.0.1")) == Passthrough(to("10.96.0.1"), service)
    with pytest.raises(ResolutionError, match="no port 81"):
        resolve(Known([service], [A]), None, "", to("10.96.0.1", 81))


STICKY = balanced(LoadBalancing(affinity_s=10800))


@given(client=st.ip_addresses(v=4), order=st.permutations(range(5)), gone=st.integers(0, 4))
def test_with_affinity_a_client_keeps_its_endpoint(client: IPAddress, order: list[int], gone: int) -> None:
    pods = [workload(f"w{number}", f"10.0.0.{number}") for number in range(5)]
    source = replace(A, addresses=(client,))
    (kept,) = names_of(resolve(Known([STICKY], pods), source, "", to("10.96.0.1")))
    left = [pods[number] for number in order if number != gone]
    (after,) = names_of(resolve(Known([STICKY], left), source, "", to("10.96.0.1")))
    assert kept in {after, f"w{gone}"}


def test_affinity_spreads_clients_and_stays_within_the_preference() -> None:
    clients = [replace(A, addresses=(ip_address(f"10.1.0.{number}"),)) for number in range(50)]
    taken = {names_of(resolve(Known([STICKY], [A, B]), client, "", to("10.96.0.1")))[0] for client in clients}
    assert taken == {"a", "b"}
    near = balanced(replace(NODE_FIRST, affinity_s=1))
    assert {names_of(resolve(Known([near], [A, FAR]), client, "", to("10.96.0.1")))[0] for client in clients} == {"a"}


NAMED = replace(A, addresses=(), hostname="db.example")


def known_as(*ips: str) -> AddressesOf:
    return lambda hostname: tuple(map(ip_address, ips)) if hostname == "db.example" else ()


def test_the_addresses_of_a_hostname_share_its_weight() -> None:
    route = resolve(Known([WEB], [NAMED, B]), None, "", to("10.96.0.1"), known_as("192.0.2.1", "192.0.2.2", "2001:db8::1"))
    assert isinstance(route, Route)
    assert [(str(endpoint.address), endpoint.weight) for endpoint in route.endpoints] == [
        ("192.0.2.1:8080", 1),
        ("192.0.2.2:8080", 1),
        ("10.0.0.2:8080", 2),
    ]


@pytest.mark.parametrize(("virtual", "dialled"), [("10.96.0.1", "192.0.2.1:8080"), ("fd00::96", "[2001:db8::1]:8080")])
def test_a_hostname_is_reached_in_the_family_asked_for(virtual: str, dialled: str) -> None:
    route = resolve(Known([WEB], [NAMED]), None, "", to(virtual), known_as("192.0.2.1", "2001:db8::1"))
    assert isinstance(route, Route)
    assert [str(endpoint.address) for endpoint in route.endpoints] == [dialled]


def test_a_hostname_without_addresses_is_no_endpoint() -> None:
    with pytest.raises(NoHealthyUpstream):
        resolve(Known([WEB], [NAMED]), None, "", to("10.96.0.1"))
    assert names_of(resolve(Known([WEB], [NAMED, B]), None, "", to("10.96.0.1"))) == ["b"]


def test_failover_leaves_a_near_hostname_that_has_no_addresses() -> None:
    assert names_of(resolve(Known([balanced(NODE_FIRST)], [NAMED, FAR]), A, "", to("10.96.0.1"))) == ["b"]


def test_a_name_with_very_many_addresses_is_used_in_part() -> None:
    route = resolve(Known([WEB], [NAMED]), None, "", to("10.96.0.1"), known_as(*(f"192.0.2.{number}" for number in range(200))))
    assert isinstance(route, Route)
    assert len(route.endpoints) == MAX_ADDRESSES_OF_NAME


def test_the_hostnames_to_look_up_are_those_of_usable_endpoints_without_addresses() -> None:
    other = replace(workload("other"), hostname="a.example")
    sick = replace(workload("sick"), hostname="sick.example", healthy=False)
    both = replace(workload("both", "10.0.0.9"), hostname="both.example")
    view = Known([WEB], [NAMED, other, sick, both, B])
    assert hostnames_needed(view, "", to("10.96.0.1")) == ("a.example", "db.example")
    assert hostnames_needed(view, "", to("10.96.0.1", 443)) == (), "no pod has that port"
    assert hostnames_needed(view, "", to("10.0.0.2")) == hostnames_needed(view, "", to("192.0.2.7")) == ()
    assert hostnames_needed(Known([balanced(LoadBalancing(mode=BalancingMode.PASSTHROUGH))], [NAMED]), "", to("10.96.0.1")) == ()
