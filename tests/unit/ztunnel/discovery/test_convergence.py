"""Whatever happens to the mesh and to the stream: once it heals, a node knows what a node that starts then would know.

The control plane here is a model: a dictionary of resources, and for each stream what was asked for and what was sent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2 as xds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh.model import Service, Workload
from mesh.policy.model import Authorization, PolicyAction, PolicyScope
from mesh.wire.convert import resource_names
from tests.unit.ztunnel.discovery.test_wire import packed, packed_policy
from tests.unit.ztunnel.fakes import NODE, service, workload
from ztunnel.config import ControlPlaneSettings
from ztunnel.discovery.client import Discovery
from ztunnel.discovery.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

SETTINGS = ControlPlaneSettings(("127.0.0.1", 1), ("127.0.0.1", 1), "unused", Path("unused"), Path("unused"), on_demand=True)
SERVICES = ("shop/web.shop.svc.cluster.local", "shop/api.shop.svc.cluster.local")


@dataclass
class World:
    """What the control plane would tell; `broken` resources reach the node as bytes that are none."""

    policies: dict[str, Authorization] = field(default_factory=dict)
    addresses: dict[str, Workload | Service] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def put(self, value: Authorization | Workload | Service, broken: bool) -> None:
        if isinstance(value, Authorization):
            name = value.key
            self.policies[name] = value
        else:
            name, _ = resource_names(value)
            self._take_addresses(value)
            self.addresses[name] = value
        self.versions[name] = self.versions.get(name, 0) + 1
        (self.broken.add if broken else self.broken.discard)(name)

    def drop(self, name: str) -> None:
        self.policies.pop(name, None)
        self.addresses.pop(name, None)
        self.broken.discard(name)

    def mend(self) -> None:
        """Whoever wrote what cannot be read writes it anew."""
        for name in tuple(self.broken):
            self.versions[name] += 1
        self.broken.clear()

    def _take_addresses(self, value: Workload | Service) -> None:
        """An address is given on only when its last owner has gone."""
        for name, other in tuple(self.addresses.items()):
            if set(other.addresses) & set(value.addresses) and name != resource_names(value)[0]:
                self.addresses[name] = replace(other, addresses=())
                self.versions[name] += 1

    def resource(self, name: str) -> xds.Resource:
        value = self.policies.get(name) or self.addresses[name]
        result = packed_policy(value) if isinstance(value, Authorization) else packed(value)
        result.version = str(self.versions[name])
        if name in self.broken:
            result.resource.value = b"\xff"
        return result

    def wanted(self, type_url: str, names: Iterable[str], wildcard: bool) -> set[str]:
        books = self.policies if type_url == AUTHORIZATION_TYPE else self.addresses
        if wildcard:
            return set(books)
        found = {name for asked in names for name, one in self.addresses.items() if asked in (name, *resource_names(one)[1])}
        backing = {name for name, one in self.addresses.items() if isinstance(one, Workload) and not found.isdisjoint(one.services)}
        return found | backing


@dataclass
class Subscription:
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    answered: bool = False


class Stream:
    """One stream of one node."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.types: dict[str, Subscription] = {}

    def receive(self, request: xds.DeltaDiscoveryRequest) -> None:
        subscription = self.types.setdefault(request.type_url, Subscription(held=dict(request.initial_resource_versions)))
        subscription.names |= set(request.resource_names_subscribe)
        subscription.absent -= set(request.resource_names_subscribe)
        subscription.names -= set(request.resource_names_unsubscribe)
        subscription.wildcard = "*" in subscription.names

    def response(self, type_url: str, at_most: int) -> xds.DeltaDiscoveryResponse | None:
        """Returns what differs, or a part of it, and counts it as held whether the node can read it or not."""
        subscription = self.types[type_url]
        wanted = self.world.wanted(type_url, subscription.names, subscription.wildcard)
        stale = sorted(name for name in wanted if subscription.held.get(name) != str(self.world.versions[name]))[:at_most]
        gone = set(subscription.held) - wanted
        missing = {name for name in subscription.names - {"*"} if not self.world.wanted(type_url, (name,), False)} - subscription.absent
        removed = sorted(gone | missing)[:at_most]
        if not stale and not removed and subscription.answered:
            return None
        subscription.answered = True
        for name in removed:
            subscription.held.pop(name, None)
        subscription.absent |= missing & set(removed)
        subscription.held.update((name, str(self.world.versions[name])) for name in stale)
        resources = map(self.world.resource, stale)
        return xds.DeltaDiscoveryResponse(type_url=type_url, nonce="n", resources=resources, removed_resources=removed)


class Node:
    def __init__(self, world: World, on_demand: bool) -> None:
        self.world = world
        self.discovery = Discovery(NODE, replace(SETTINGS, on_demand=on_demand), lambda: None)
        self.reconnect()

    def reconnect(self) -> None:
        """What was under way in either direction is lost."""
        self.stream = Stream(self.world)
        self.discovery.begin()

    def exchange(self, at_most: int = 1_000) -> bool:
        """Lets what was said arrive, and one response of each type; returns whether there was one."""
        answered = False
        for request in self.discovery.outgoing():
            self.stream.receive(request)
        for type_url in (AUTHORIZATION_TYPE, ADDRESS_TYPE):
            if type_url in self.stream.types and (response := self.stream.response(type_url, at_most)):
                self.discovery.take(response)
                answered = True
        return answered

    def settle(self) -> None:
        while self.exchange():
            pass


policies = st.builds(
    Authorization,
    st.sampled_from("pq"),
    st.sampled_from(["shop", "istio-system"]),
    st.sampled_from(PolicyScope),
    st.sampled_from(PolicyAction),
    st.just(()),
    st.booleans(),
)
ips = st.sampled_from([f"10.0.0.{number}" for number in range(1, 5)])
workloads = st.builds(
    lambda name, ip, backs, listed: workload(name, ip, services={key: {80: 8080} for key in backs}, policies=tuple(sorted(listed))),
    st.sampled_from("abc"),
    ips,
    st.sets(st.sampled_from(SERVICES)),
    st.sets(st.sampled_from(["shop/p", "shop/q"])),
)
services = st.builds(service, st.sampled_from(["web", "api"]), ips)
names = (
    st.sampled_from(["shop/p", "shop/q", "istio-system/p", *SERVICES])
    | st.sampled_from("abc").map("Kubernetes//Pod/shop/{}".format)
    | ips.map("/{}".format)
)
steps = st.one_of(
    st.tuples(st.just("put"), policies | workloads | services, st.booleans()),
    st.tuples(st.just("drop"), names),
    st.tuples(st.just("ask"), names.filter(lambda name: not name.endswith(("/p", "/q")))),
    st.tuples(st.just("exchange"), st.integers(1, 3)),
    st.tuples(st.just("cut")),
)


def play(node: Node, script: list[tuple]) -> list[str]:  # type: ignore[type-arg]
    """Returns the names that were asked for."""
    asked = []
    for what, *arguments in script:
        match what:
            case "put":
                node.world.put(*arguments)
            case "drop":
                node.world.drop(*arguments)
            case "ask":
                node.discovery.pin(*arguments)
                asked += arguments
            case "exchange":
                node.exchange(*arguments)
            case "cut":
                node.reconnect()
    return asked


def knowledge(discovery: Discovery, asked: Iterable[str]) -> object:
    """Everything that decisions are made from."""
    store, held = discovery.store, discovery.policies
    reachable = store.reachable(asked)
    everything = {resource_names(one)[0]: one for one in store.resources()}
    endpoints = {key: sorted(one.uid for one in store.endpoints(key) if one.uid in reachable) for key in SERVICES if key in reachable}
    owners = {name: store.reachable((name,)) for name in asked}
    return (
        {name: everything[name] for name in reachable},
        endpoints,
        owners,
        {policy.key: policy for policy in held},
        {namespace: held.blocking(namespace) for namespace in ("shop", "bank")},
        dict(held.refused),
        held.versions(),
        {name: discovery.settled(name) for name in asked},
    )


UNREADABLE = Authorization("p", "shop", PolicyScope.NAMESPACE, PolicyAction.DENY, ())


@settings(max_examples=300)
@example([("put", UNREADABLE, True), ("exchange", 3), ("cut",), ("drop", UNREADABLE.key)], True, False)
@given(st.lists(steps, max_size=30), st.booleans(), st.booleans())
def test_any_history_ends_in_what_a_fresh_start_knows(script: list[tuple], on_demand: bool, cut: bool) -> None:  # type: ignore[type-arg]
    world = World()
    node = Node(world, on_demand)
    asked = play(node, script)
    world.mend()
    if cut:
        node.reconnect()
    node.settle()
    fresh = Node(world, on_demand)
    for name in asked:
        fresh.discovery.pin(name)
    fresh.settle()
    names = asked if on_demand else [*world.addresses, *asked]
    assert knowledge(node.discovery, names) == knowledge(fresh.discovery, names)
    assert all(world.addresses[resource_names(one)[0]] == one for one in node.discovery.store.resources()), "nothing of the past is held"


@given(st.lists(steps, max_size=30))
def test_at_no_time_is_somebody_let_in_by_a_policy_that_was_announced_and_not_read(script: list[tuple]) -> None:  # type: ignore[type-arg]
    """A policy that is broken now and was never good on this node blocks its namespace as soon as it has been sent."""
    world = World()
    node = Node(world, on_demand=True)
    play(node, script)
    node.settle()
    held = node.discovery.policies
    for name in world.broken & world.policies.keys():
        assert name in held.refused
        assert held.get(name) is not None or held.blocking(name.partition("/")[0])
