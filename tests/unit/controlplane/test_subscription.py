"""Whatever changes, is asked for, forgotten or reconnected: a client ends up with what a fresh one would be told."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane import subscription as module
from controlplane.resources import NOTHING, Resources, address_resources
from controlplane.subscription import Request, Subscription, next_response, open_subscription, update_subscription
from mesh.errors import RemoteProtocolError
from mesh.model import PortMapping, Service, Snapshot, Workload

SERVICES = ("x", "y")
NAMES = ["*", "ns/x", "ns/y", "/10.96.0.0", "/10.96.0.1", *(f"w{n}" for n in range(4)), *(f"/10.0.0.{n}" for n in range(5)), "nowhere"]


def workload(number: int, address: int, backs: frozenset[str], healthy: bool) -> Workload:
    ports = {f"ns/{name}": (PortMapping(80, 8080),) for name in sorted(backs)}
    ip = IPv4Address(f"10.0.0.{address}")
    return Workload(f"w{number}", f"w{number}", "ns", "default", "td", (ip,), "n", healthy=healthy, services=ports)


def service(name: str, port: int) -> Service:
    return Service(name, "ns", name, (IPv4Address(f"10.96.0.{SERVICES.index(name)}"),), (PortMapping(port, 8080),))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A few workloads with distinct addresses, which they may swap from one snapshot to the next."""
    numbers = draw(st.lists(st.integers(0, 3), unique=True))
    addresses = draw(st.permutations(range(5)))
    backs = st.frozensets(st.sampled_from(SERVICES))
    workloads = [workload(number, addresses[number], draw(backs), draw(st.booleans())) for number in numbers]
    services = [service(name, draw(st.integers(80, 81))) for name in draw(st.lists(st.sampled_from(SERVICES), unique=True))]
    return Snapshot(1, {one.uid: one for one in workloads}, {one.key: one for one in services})


@dataclass
class Client:
    """Believes what it is told, and remembers what it wants."""

    wants: set[str]
    wildcard: bool
    holds: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def take(self, response: module.Response) -> None:
        for name in response.removed:
            self.holds.pop(name, None)
            self.versions.pop(name, None)
            self.missing |= {name} & self.wants
        for resource in response.resources:
            self.holds[resource.name] = resource.body
            self.versions[resource.name] = resource.version
            self.missing -= {resource.name, *resource.aliases}


def settle(state: Subscription, resources: Resources, client: Client) -> Subscription:
    for _ in range(100):
        state, response = next_response(state, resources)
        if response is None:
            return state
        client.take(response)
    raise AssertionError("the server never has nothing to say")


def fresh(client: Client, resources: Resources) -> Client:
    other = Client(set(client.wants), client.wildcard)
    names = [*sorted(client.wants), *(["*"] if client.wildcard else [])]
    nothing = [] if names else ["*"]
    settle(open_subscription(Request([*names, *nothing], nothing)), resources, other)
    return other


steps = st.one_of(
    snapshots(),
    st.tuples(st.lists(st.sampled_from(NAMES), max_size=4), st.lists(st.sampled_from(NAMES), max_size=4)),
    st.sampled_from(["respond", "reconnect"]),
)


@given(first=st.lists(st.sampled_from(NAMES), max_size=4), script=st.lists(steps, max_size=12), limit=st.sampled_from([1, 300, 3 * 2**20]))
def test_every_history_ends_where_a_fresh_subscriber_begins(first: list[str], script: list[object], limit: int) -> None:
    resources = NOTHING
    client = Client(set(first) - {"*"}, not first or "*" in first)
    state = open_subscription(Request(first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_RESPONSE_BYTES", limit)
        patch.setattr(module, "MAX_REMOVED_NAMES", 2)
        for step in script:
            if isinstance(step, Snapshot):
                resources = address_resources(step, resources)
            elif isinstance(step, tuple):
                added, dropped = step
                client.wants = (client.wants | set(added) - {"*"}) - set(dropped)
                client.wildcard = (client.wildcard or "*" in added) and "*" not in dropped
                client.missing &= client.wants
                client.missing -= set(added)
                state = update_subscription(state, Request(added, dropped), resources)
            elif step == "respond":
                state, response = next_response(state, resources)
                if response is not None:
                    client.take(response)
            else:
                client.missing.clear()
                names = [*sorted(client.wants), *(["*"] if client.wildcard else [])]
                nothing = [] if names else ["*"]
                state = open_subscription(Request([*names, *nothing], nothing, dict(client.versions)))
        state = settle(state, resources, client)
    expected = fresh(client, resources)
    assert client.holds == expected.holds
    assert client.missing == expected.missing
    assert next_response(state, resources)[1] is None


@given(snapshots())
def test_a_reconnected_client_that_holds_everything_is_sent_nothing(snapshot: Snapshot) -> None:
    resources = address_resources(snapshot)
    client = Client(set(), True)
    settle(open_subscription(Request()), resources, client)
    again = open_subscription(Request(versions=client.versions))
    _, response = next_response(again, address_resources(snapshot))
    assert response is not None
    assert (response.resources, response.removed) == ((), ())


def two() -> Resources:
    one, other = workload(0, 0, frozenset(), True), workload(1, 1, frozenset(), True)
    return address_resources(Snapshot(1, {one.uid: one, other.uid: other}, {}))


def test_a_response_holds_at_least_one_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 1)
    state, first = next_response(open_subscription(Request()), two())
    state, second = next_response(state, two())
    assert first is not None
    assert second is not None
    assert [[one.name for one in response.resources] for response in (first, second)] == [["w0"], ["w1"]]
    assert next_response(state, two())[1] is None


def test_what_is_asked_for_again_and_then_goes_is_taken_back() -> None:
    resources = two()
    state, _ = next_response(open_subscription(Request(["/10.0.0.0"])), resources)
    state = update_subscription(state, Request(["/10.0.0.0"]), resources)
    _, response = next_response(state, NOTHING)
    assert response is not None
    assert response.removed == ("w0", "/10.0.0.0")


def test_a_name_that_comes_and_goes_in_one_request_is_taken_back() -> None:
    resources = two()
    state, _ = next_response(open_subscription(Request()), resources)
    state = update_subscription(state, Request(["w0"], ["*", "w0"]), resources)
    _, response = next_response(state, resources)
    assert response is not None
    assert response.removed == ("w0", "w1")


def test_an_unsubscribed_name_is_taken_back_with_what_it_brought() -> None:
    backed, of = workload(0, 0, frozenset("x"), True), service("x", 80)
    resources = address_resources(Snapshot(1, {backed.uid: backed}, {of.key: of}))
    state, _ = next_response(open_subscription(Request(["ns/x"])), resources)
    state = update_subscription(state, Request([], ["ns/x"]), resources)
    _, response = next_response(state, resources)
    assert response is not None
    assert response.removed == ("ns/x", "w0")


@pytest.mark.parametrize("names", [["n" * 1101], [f"n{number}" for number in range(50_001)]])
def test_names_are_bounded(names: list[str]) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        open_subscription(Request(names))
    assert refused.value.status == 8
    with pytest.raises(RemoteProtocolError):
        update_subscription(open_subscription(Request()), Request(names), NOTHING)


def test_versions_are_bounded() -> None:
    with pytest.raises(RemoteProtocolError):
        open_subscription(Request(versions={f"n{number}": "1" for number in range(50_001)}))


def test_what_did_not_change_is_not_rendered_again() -> None:
    before = two()
    after = address_resources(Snapshot(2, {"w0": workload(0, 0, frozenset(), False), "w1": workload(1, 1, frozenset(), True)}, {}), before)
    assert after.by_name["w1"] is before.by_name["w1"]
    assert after.by_name["w0"].version != before.by_name["w0"].version


def test_a_version_is_of_the_content_alone() -> None:
    assert {name: one.version for name, one in two().by_name.items()} == {name: one.version for name, one in two().by_name.items()}
