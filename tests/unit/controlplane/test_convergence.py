"""Any sequence of changes, wishes, lost streams, refusals and lag ends with the client holding what a fresh client would hold."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane import subscription, table
from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE, Source
from controlplane.stream import Stream
from tests.unit.controlplane.meshes import SmallMesh, policy, service, workload

NODE = "n"
SERVICES = ("x", "y")
POLICIES = [f"p{number}" for number in range(4)]
# Addresses are few, so that they go from one resource to another, and are shared.
WORKLOADS = st.builds(
    workload, st.sampled_from([f"w{n}" for n in range(4)]), st.integers(0, 4), st.frozensets(st.sampled_from(SERVICES)), st.booleans()
)
PRESENT = st.one_of(
    WORKLOADS,
    st.builds(service, st.sampled_from(SERVICES), st.integers(3, 6), st.integers(80, 81)),
    st.builds(policy, st.sampled_from(POLICIES), st.booleans()),
)
ADDRESS_NAMES = ["*", "ns/x", "ns/y", "nowhere", *(f"w{n}" for n in range(4)), *(f"/10.0.0.{n}" for n in range(7))]
NAMES = {ADDRESS_TYPE: ADDRESS_NAMES, AUTHORIZATION_TYPE: ["*", *(f"ns/{name}" for name in POLICIES)]}


@dataclass(frozen=True)
class Change:
    present: tuple[Source, ...]
    gone: tuple[str, ...]
    gone_policies: tuple[str, ...]
    scope: frozenset[str]

    def apply(self, mesh: SmallMesh) -> None:
        mesh.scopes[NODE] = self.scope
        mesh.put(*self.present, gone=self.gone, gone_policies=self.gone_policies)


@dataclass(frozen=True)
class Wish:
    kind: str
    add: tuple[str, ...]
    drop: tuple[str, ...]


def some(names: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), max_size=3).map(tuple)


CHANGES = st.builds(
    Change,
    st.lists(PRESENT, max_size=4, unique_by=lambda one: (type(one), one.name)).map(tuple),
    some(["w0", "w1", "w2", "w3", "ns/x", "ns/y"]),
    some(["ns/p0", "ns/p1", "ns/p2"]),
    st.frozensets(st.sampled_from([f"ns/{name}" for name in POLICIES])),
)
WISHES = st.one_of(*(st.builds(Wish, st.just(kind), some(names), some(names)) for kind, names in NAMES.items()))


def ask(kind: str, **fields: Any) -> Any:
    return discovery_pb2.DeltaDiscoveryRequest(type_url=kind, **fields)


@dataclass
class Client:
    """Believes what it is told, remembers what it wants, and acknowledges late.

    Args:
        wants: by type.
        holds, versions: what it was sent, by type and name.
    """

    wants: dict[str, set[str]] = field(default_factory=dict)
    holds: dict[str, dict[str, bytes]] = field(default_factory=lambda: {kind: {} for kind in NAMES})
    versions: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in NAMES})
    missing: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in NAMES})
    waiting: list[Any] = field(default_factory=list)

    def connect(self, mesh: SmallMesh) -> Stream:
        """Says what it wants and holds; policies first, as node proxies do."""
        nonces = itertools.count(1)
        stream = Stream(lambda: str(next(nonces)), mesh, NODE)
        self.waiting.clear()
        for kind in sorted(self.wants, reverse=True):
            self.missing[kind].clear()
            nothing = [] if self.wants[kind] else ["*"]
            names = [*sorted(self.wants[kind]), *nothing]
            versions = self.versions[kind]
            stream.receive(
                ask(kind, resource_names_subscribe=names, resource_names_unsubscribe=nothing, initial_resource_versions=versions)
            )
        return stream

    def wish(self, wish: Wish, stream: Stream) -> None:
        first = wish.kind not in self.wants
        wants = self.wants.setdefault(wish.kind, set())
        if first and not wish.add:
            wants.add("*")
        wants |= set(wish.add)
        wants -= set(wish.drop)
        self.missing[wish.kind] &= wants
        self.missing[wish.kind] -= set(wish.add)
        stream.receive(ask(wish.kind, resource_names_subscribe=wish.add, resource_names_unsubscribe=wish.drop))

    def take(self, stream: Stream) -> None:
        """Takes in what is sent now; the acknowledgements wait."""
        for sent in stream.responses():
            message = discovery_pb2.DeltaDiscoveryResponse.FromString(sent.serialise())
            kind = message.type_url
            self.waiting.append(ask(kind, response_nonce=message.nonce))
            for name in message.removed_resources:
                self.holds[kind].pop(name, None)
                self.versions[kind].pop(name, None)
                self.missing[kind] |= {name} & self.wants[kind]
            for resource in message.resources:
                self.holds[kind][resource.name] = resource.resource.value
                self.versions[kind][resource.name] = resource.version
                self.missing[kind] -= {resource.name, *resource.aliases}
            self.expect_policies_before_addresses(kind, stream)

    def expect_policies_before_addresses(self, kind: str, stream: Stream) -> None:
        """Who has asked for policies too has all of them when an address comes."""
        if kind == ADDRESS_TYPE and "*" in self.wants.get(AUTHORIZATION_TYPE, ()):
            table = stream.mesh.table(AUTHORIZATION_TYPE)
            due = {name: one.version for name, one in table.by_name.items() if name in stream.mesh.scope(NODE)}
            assert due.items() <= self.versions[AUTHORIZATION_TYPE].items()

    def acknowledge(self, stream: Stream, error: str = "") -> None:
        """A refusal changes nothing of what the control plane takes it to hold: the same again would be refused again."""
        for message in self.waiting:
            if error:
                message.error_detail.message = error
            stream.receive(message)
        self.waiting.clear()

    def settle(self, stream: Stream) -> None:
        for _ in range(200):
            self.acknowledge(stream)
            self.take(stream)
            if not self.waiting:
                return
        raise AssertionError("the server never has nothing to say")


@pytest.fixture(scope="module", autouse=True)
def _small_limits() -> Iterator[None]:
    """So small that every limit is met."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subscription, "MAX_RESPONSE_BYTES", 300)
        patch.setattr(subscription, "MAX_REMOVED_NAMES", 2)
        patch.setattr(subscription, "MAX_PENDING", 12)
        patch.setattr(table, "MAX_LOGGED_NAMES", 12)
        yield


STEPS = st.sampled_from(["take", "acknowledge", "refuse", "cut"])


@settings(max_examples=200)
@given(st.lists(WISHES, min_size=1, max_size=4), st.lists(CHANGES | CHANGES | WISHES | STEPS, max_size=30))
def test_every_history_ends_where_a_fresh_client_begins(first: list[Wish], script: list[Change | Wish | str]) -> None:
    mesh = SmallMesh(scopes={NODE: frozenset()})
    client = Client()
    stream = client.connect(mesh)
    for step in (*first, *script):
        match step:
            case Change():
                step.apply(mesh)
            case Wish():
                client.wish(step, stream)
            case "take":
                client.take(stream)
            case "acknowledge":
                client.acknowledge(stream)
            case "refuse":
                client.acknowledge(stream, "no")
            case "cut":
                stream = client.connect(mesh)
    client.settle(stream)
    fresh = Client({kind: set(wants) for kind, wants in client.wants.items()})
    fresh.settle(fresh.connect(mesh))
    assert client.holds == fresh.holds
    assert client.versions == fresh.versions
    assert client.missing == fresh.missing


@given(st.lists(CHANGES, max_size=8))
def test_a_client_that_held_everything_before_a_cut_is_sent_nothing_after_it(script: list[Change]) -> None:
    mesh = SmallMesh(scopes={NODE: frozenset()})
    client = Client({ADDRESS_TYPE: {"*"}, AUTHORIZATION_TYPE: {"*"}})
    stream = client.connect(mesh)
    for change in script:
        change.apply(mesh)
        client.settle(stream)
    again = client.connect(mesh)
    assert [(one.response.resources, one.response.removed) for one in again.responses()] == [((), ())] * 2
