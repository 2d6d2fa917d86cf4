"""Ours and a naive second implementation agree on random policies and connections, through catalogue, wire form and evaluation."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.identity import Identity
from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication, Pod
from mesh.model import SocketAddress
from mesh.policy.conditions import ConditionType
from mesh.policy.conversion import convert_policy
from mesh.policy.evaluation import Grounds, PolicyBook, Ruling
from mesh.policy.model import Authorization, Connection
from mesh.settings import MeshSettings
from mesh.wire import authorization_pb2 as pb
from mesh.wire.policies import authorization_from_wire, authorization_to_wire
from tests.unit.mesh.policy import naive
from tests.unit.mesh.policy.naive import ALIASES, DOMAIN, ROOT, Attempt, Manifest

SETTINGS = MeshSettings(trust_domain=DOMAIN, trust_domain_aliases=ALIASES, root_namespace=ROOT)

# Few of each, so that policies and connections meet.
domains = st.sampled_from((DOMAIN, *ALIASES, "foreign.example"))
namespaces = st.sampled_from(("shop", "pay", "shop-test", ROOT))
accounts = st.sampled_from(("web", "api"))
addresses = st.sampled_from(("10.0.0.1", "10.0.1.1", "192.0.2.1", "fd00::1", "fd00:1::1"))
blocks = addresses | st.sampled_from(("10.0.0.0/24", "10.9.9.9/8", "0.0.0.0/0", "fd00::/16", "fd00::/64", "::/0", "192.0.2.1/32"))
ports = st.sampled_from((80, 443, 8080))
port_texts = ports.map(str)
labels = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("web", "api")), max_size=2)
attempts = st.builds(
    Attempt,
    client=st.none() | st.tuples(domains, namespaces, accounts),
    source_ip=addresses,
    destination_ip=addresses,
    port=ports,
    namespace=namespaces,
    labels=labels.map(lambda found: tuple(found.items())),
)


@st.composite
def patterns(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    text = draw(texts)
    cut = draw(st.integers(1, len(text) - 1))
    return draw(st.sampled_from((text, text, "*", text[:cut] + "*", "*" + text[cut:], text + "*", "*" + text)))


principals = patterns(st.builds("{}/ns/{}/sa/{}".format, domains, namespaces, accounts))
namespace_patterns = patterns(namespaces)
account_names = accounts | st.builds("{}/{}".format, namespaces, accounts)


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(values, max_size=3)


def some_fields(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Manifest]:
    """At least one field with a value."""
    return st.fixed_dictionaries({}, optional=fields).filter(lambda found: any(found.values()))


def both(name: str, values: st.SearchStrategy[str]) -> dict[str, st.SearchStrategy[list[str]]]:
    return {name: lists(values), "not" + name[0].upper() + name[1:]: lists(values)}


web_texts = st.sampled_from(("GET", "*"))
not_empty = st.lists(web_texts, min_size=1, max_size=1)
l7_source = st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(naive.L7_SOURCE), not_empty))
l7_operation = st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(naive.L7_OPERATION), not_empty))
by_identity = some_fields({**both("principals", principals), **both("namespaces", namespace_patterns), **both("ipBlocks", blocks)})
by_account = some_fields({**both("serviceAccounts", account_names), **both("ipBlocks", blocks)})
operations = some_fields(both("ports", port_texts))
CONDITIONS = {
    "source.principal": principals,
    "source.namespace": namespace_patterns,
    "source.serviceAccount": account_names,
    "source.ip": blocks,
    "destination.ip": blocks,
    "destination.port": port_texts,
    "request.headers[x]": web_texts,
    "connection.sni": web_texts,
}


def rarely(usual: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 7).flatmap(lambda number: rare if number == 7 else usual)


def merged(first: st.SearchStrategy[Manifest], second: st.SearchStrategy[Manifest]) -> st.SearchStrategy[Manifest]:
    return rarely(first, st.builds(lambda a, b: {**a, **b}, first, second) | second.filter(bool))


sources = merged(by_identity | by_account, l7_source).map(lambda found: {"source": found})
operation_entries = merged(operations, l7_operation).map(lambda found: {"operation": found})
whens = st.sampled_from(sorted(CONDITIONS)).flatmap(
    lambda key: some_fields({"values": lists(CONDITIONS[key]), "notValues": lists(CONDITIONS[key])}).map(
        lambda found: {"key": key, **found}
    )
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(sources, min_size=1, max_size=2),
        "to": st.lists(operation_entries, min_size=1, max_size=2),
        "when": st.lists(whens, min_size=1, max_size=2),
    },
)
TARGET = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "w"}
# Each makes a policy that nobody understands in full.
BREAKAGES: tuple[Manifest, ...] = (
    {"priority": 1},
    {"provider": {"name": "x"}},
    {"rules": [{"from": []}]},
    {"rules": [{"from": [{"source": {"namespaces": ["a*b"]}}]}]},
    {"rules": [{"from": [{"source": {"serviceAccounts": ["web"], "principals": ["*"]}}]}]},
    {"rules": [{"to": [{"operation": {"ports": ["80", "http"]}}]}]},
    {"rules": [{"when": [{"key": "source.port", "values": ["80"]}]}, {}]},
    {"selector": {"matchLabels": {"app": "web"}}, "targetRefs": [TARGET]},
    {"action": "REJECT"},
)


@st.composite
def policies(draw: st.DrawFn, name: str) -> Manifest:
    spec: Manifest = draw(
        st.fixed_dictionaries({}, optional={"rules": st.lists(rules, max_size=3), "action": st.sampled_from(("ALLOW", "DENY"))})
    )
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": draw(labels)}
    elif draw(st.integers(0, 9)) == 9:
        spec["targetRefs"] = [TARGET]
    broken = draw(rarely(st.none(), st.sampled_from(BREAKAGES)))
    if broken is None and draw(st.integers(0, 9)) == 9:
        spec["action"] = draw(st.sampled_from(("CUSTOM", "AUDIT")))
    spec |= broken or {}
    annotations = {"istio.io/dry-run": draw(st.sampled_from(("true", "false")))} if draw(st.booleans()) else {}
    return {
        "metadata": {"name": name, "namespace": draw(namespaces), "annotations": annotations},
        "spec": spec,
        "broken": broken is not None,
    }


modes = st.sampled_from(("STRICT", "PERMISSIVE", "UNSET", "DISABLE")).map(lambda mode: {"mode": mode})
ages = st.sampled_from(({}, {"creationTimestamp": "2024-01-01T00:00:00Z"}, {"creationTimestamp": "2025-01-01T00:00:00Z"}))
peer_breakages = st.sampled_from(({"mtls": {"mode": "strict"}}, {"zone": 1}))


@st.composite
def peers(draw: st.DrawFn, name: str) -> Manifest:
    spec: Manifest = draw(st.fixed_dictionaries({}, optional={"mtls": modes}))
    selector = draw(st.none() | labels)
    if selector is not None:
        spec["selector"] = {"matchLabels": selector}
    if selector and draw(st.booleans()):
        spec["portLevelMtls"] = draw(st.dictionaries(port_texts, modes, max_size=3))
    broken = draw(rarely(st.none(), peer_breakages))
    spec |= broken or {}
    return {"metadata": {"name": name, "namespace": draw(namespaces), **draw(ages)}, "spec": spec, "broken": broken is not None}


World = tuple[list[Manifest], list[Manifest], set[str]]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    ours = [draw(policies(f"p{number}")) for number in range(draw(st.integers(0, 5)))]
    absent = {naive.name(one) for one in ours if draw(st.integers(0, 5)) == 5}
    return ours, [draw(peers(f"m{number}")) for number in range(draw(st.integers(0, 4)))], absent


def over_the_wire(policy: Authorization) -> Authorization:
    return authorization_from_wire(pb.Authorization.FromString(authorization_to_wire(policy).SerializeToString()))


class Mesh:
    """Does what control plane and node proxy do together: catalogue, wire form, and the policies of one node held in a book."""

    def __init__(self, manifests: list[Manifest], peer_manifests: list[Manifest], absent: set[str]) -> None:
        self.absent = absent
        self.catalogue = Catalogue(SETTINGS)
        self.catalogue.apply([change(AuthorizationPolicy, one) for one in manifests])
        self.catalogue.apply([change(PeerAuthentication, one) for one in peer_manifests])
        self.uids: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
        self.book = PolicyBook(DOMAIN, ALIASES)

    def decide(self, attempt: Attempt) -> Ruling:
        workload = self.catalogue.workloads[self.run(attempt)]
        return self.book.decide(connection(attempt), workload.namespace, workload.policies)

    def run(self, attempt: Attempt) -> str:
        """Runs a pod to connect to; the node hears of the policies that it needs for it."""
        kind = (attempt.namespace, attempt.labels)
        if kind not in self.uids:
            name = f"pod-{len(self.uids)}"
            metadata = {"name": name, "namespace": attempt.namespace, "labels": dict(attempt.labels)}
            spec, status = {"nodeName": "n", "containers": [{"name": "c"}]}, {"podIP": f"10.244.0.{len(self.uids)}", "phase": "Running"}
            (uid,) = self.catalogue.apply([change(Pod, {"metadata": metadata, "spec": spec, "status": status})]).workloads
            self.uids[kind] = uid
            for key in self.catalogue.policies_of_node("n") - self.absent:
                self.book.put(over_the_wire(self.catalogue.policies[key]))
        return self.uids[kind]


def change(kind: type[AuthorizationPolicy | PeerAuthentication | Pod], manifest: Manifest) -> ObjectChange:
    key = ObjectKey(kind.__name__, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    return ObjectChange(key, kind.model_validate(manifest))


def connection(attempt: Attempt) -> Connection:
    return Connection(
        source=SocketAddress(ip_address(attempt.source_ip), 40000),
        identity=Identity(*attempt.client) if attempt.client else None,
        destination=SocketAddress(ip_address(attempt.destination_ip), attempt.port),
    )


def check(world: World, tried: Iterable[Attempt]) -> None:
    mesh = Mesh(*world)
    for attempt in tried:
        ruling, opinion = mesh.decide(attempt), naive.judge(*world, attempt)
        assert (ruling.allowed, set(ruling.would_deny)) == (opinion.allowed, opinion.would_deny), (attempt, ruling)


CLIENTS = (
    None,
    (DOMAIN, "shop", "web"),
    (DOMAIN, "pay", "api"),
    (ALIASES[0], "shop", "api"),
    (ALIASES[1], "pay", "web"),
    ("foreign.example", "shop", "web"),
)
SOURCES = ("10.0.0.1", "192.0.2.1", "fd00::1")
# Every client from every source to every port.
KNOCKS = [Attempt(client, source, "10.0.1.1", port, "shop", ()) for client in CLIENTS for source in SOURCES for port in (80, 443)]


@given(policies("p"), st.sampled_from(("10.0.0.1", "10.0.1.1", "fd00::1")))
@settings(max_examples=600)
def test_one_policy(manifest: Manifest, destination_ip: str) -> None:
    """A world of one policy that holds for whom all the knocking is for."""
    namespace, labels = manifest["metadata"]["namespace"], manifest["spec"].get("selector", {}).get("matchLabels", {})
    # What the root namespace selects, it selects everywhere.
    here = {"destination_ip": destination_ip, "namespace": "shop" if namespace == ROOT else namespace, "labels": tuple(labels.items())}
    check(([manifest], [], set()), (replace(one, **here) for one in KNOCKS))


LABELS = ((), (("app", "web"),), (("app", "api"),), (("app", "web"), ("tier", "api")))
PLAIN = [
    Attempt(None, "10.0.0.1", "10.0.1.1", port, namespace, carried)
    for port in (80, 443)
    for namespace in ("shop", "pay", ROOT)
    for carried in LABELS
]


@given(st.integers(1, 5).flatmap(lambda count: st.tuples(*(peers(f"m{number}") for number in range(count)))))
@settings(max_examples=300)
def test_mutual_tls(manifests: tuple[Manifest, ...]) -> None:
    check(([], list(manifests), set()), PLAIN)


@given(worlds(), st.lists(attempts, min_size=5, max_size=20))
@settings(max_examples=300)
def test_whole_worlds(world: World, tried: list[Attempt]) -> None:
    check(world, tried)


@given(policies("p"))
def test_what_is_broken_is_what_is_not_accepted(manifest: Manifest) -> None:
    converted = convert_policy(AuthorizationPolicy.model_validate(manifest), SETTINGS)
    accepted = next(one.status for one in converted.conditions if one.type is ConditionType.ACCEPTED)
    for_others = manifest["spec"].get("action") in ("CUSTOM", "AUDIT") and "targetRefs" not in manifest["spec"]
    assert accepted is not (manifest["broken"] or for_others)


# Finds one example, and does not care for a small one.
SEARCH = settings(max_examples=20_000, database=None, phases=[Phase.generate])


@pytest.mark.parametrize("grounds", Grounds)
def test_random_worlds_reach_every_ruling(grounds: Grounds) -> None:
    """Otherwise the agreement would be about less than it seems."""
    find(st.tuples(worlds(), attempts), lambda found: Mesh(*found[0]).decide(found[1]).reason is grounds, settings=SEARCH)


def test_random_worlds_rehearse_a_denial() -> None:
    find(st.tuples(worlds(), attempts), lambda found: bool(Mesh(*found[0]).decide(found[1]).would_deny), settings=SEARCH)
