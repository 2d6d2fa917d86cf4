"""PolicyBook: the order of DENY and ALLOW, scopes, dry run, what is not held, aliases, and what a decision costs."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from mesh.identity import Identity
from mesh.model import SocketAddress
from mesh.policy.evaluation import Grounds, PolicyBook, Ruling
from mesh.policy.model import (
    Authorization,
    Connection,
    Match,
    PolicyAction,
    PolicyScope,
    Rule,
    ServiceAccountMatch,
    TextMatch,
    TextMatchKind,
)

EVERYTHING: tuple[Rule, ...] = ((),)
WEB = Identity("cluster.local", "pay", "web")


def policy(name: str = "p", rules: tuple[Rule, ...] = EVERYTHING, **changes: object) -> Authorization:
    base = Authorization(name, "shop", PolicyScope.NAMESPACE, PolicyAction.DENY, rules)
    return replace(base, **changes)  # type: ignore[arg-type]


def allow(name: str = "p", rules: tuple[Rule, ...] = EVERYTHING, **changes: object) -> Authorization:
    return policy(name, rules, action=PolicyAction.ALLOW, **changes)


def one(**values: object) -> tuple[Rule, ...]:
    return (((Match(**values),),),)  # type: ignore[arg-type]


def connection(identity: Identity | None = WEB, port: int = 80) -> Connection:
    return Connection(SocketAddress(ip_address("10.0.0.1"), 40000), identity, SocketAddress(ip_address("10.0.1.1"), port))


def book(*policies: Authorization, aliases: tuple[str, ...] = ()) -> PolicyBook:
    made = PolicyBook("cluster.local", aliases)
    for each in policies:
        made.put(each)
    return made


def decide(*policies: Authorization, listed: tuple[str, ...] = (), asked: Connection | None = None) -> Ruling:
    return book(*policies).decide(asked or connection(), "shop", listed)


ON_81 = one(destination_ports=(81,))


@pytest.mark.parametrize(
    ("policies", "ruling"),
    [
        ((), Ruling(True, "", Grounds.UNRESTRICTED)),
        ((policy("d"),), Ruling(False, "shop/d", Grounds.DENIED)),
        ((policy("d", ON_81),), Ruling(True, "", Grounds.UNRESTRICTED)),
        ((policy("d", ()),), Ruling(True, "", Grounds.UNRESTRICTED)),
        ((allow("a"),), Ruling(True, "shop/a", Grounds.ALLOWED)),
        ((allow("a", ON_81),), Ruling(False, "shop/a", Grounds.NOT_ALLOWED)),
        ((allow("a", ()),), Ruling(False, "shop/a", Grounds.NOT_ALLOWED)),
        ((allow("z", ON_81), allow("b", ON_81), allow("y")), Ruling(True, "shop/y", Grounds.ALLOWED)),
        ((allow("z", ON_81), allow("b", ON_81)), Ruling(False, "shop/b", Grounds.NOT_ALLOWED)),
        ((allow("a"), policy("z"), policy("d")), Ruling(False, "shop/d", Grounds.DENIED)),
        ((policy("d", namespace="istio-system", scope=PolicyScope.MESH),), Ruling(False, "istio-system/d", Grounds.DENIED)),
        ((policy("d", namespace="pay"),), Ruling(True, "", Grounds.UNRESTRICTED)),
        ((policy("d", scope=PolicyScope.SELECTOR),), Ruling(True, "", Grounds.UNRESTRICTED)),
    ],
)
def test_rulings(policies: tuple[Authorization, ...], ruling: Ruling) -> None:
    assert decide(*policies) == ruling
    assert decide(*reversed(policies)) == ruling


def test_a_listed_policy_applies_and_one_that_is_not_held_denies() -> None:
    selecting = policy("d", scope=PolicyScope.SELECTOR)
    assert decide(selecting, listed=("shop/d",)) == Ruling(False, "shop/d", Grounds.DENIED)
    assert decide(allow("a"), listed=("shop/x",)) == Ruling(False, "shop/x", Grounds.NOT_HELD)
    assert decide(policy("d"), listed=("shop/x",)).reason is Grounds.NOT_HELD


def test_a_listed_policy_whose_scope_has_changed_applies_by_its_scope_alone() -> None:
    assert decide(policy("d", namespace="pay"), listed=("pay/d",)).allowed
    assert decide(allow("a", ON_81), listed=("shop/a", "shop/a")) == Ruling(False, "shop/a", Grounds.NOT_ALLOWED)


def dry(name: str, action: PolicyAction, rules: tuple[Rule, ...] = EVERYTHING) -> Authorization:
    return policy(name, rules, action=action, dry_run=True)


@pytest.mark.parametrize(
    ("policies", "would_deny"),
    [
        ((dry("d", PolicyAction.DENY),), ("shop/d",)),
        ((dry("d", PolicyAction.DENY, ON_81),), ()),
        ((dry("a", PolicyAction.ALLOW),), ()),
        ((dry("a", PolicyAction.ALLOW, ON_81),), ("shop/a",)),
        ((dry("a", PolicyAction.ALLOW, ON_81), dry("b", PolicyAction.ALLOW)), ()),
        ((dry("b", PolicyAction.ALLOW, ON_81), dry("a", PolicyAction.ALLOW, ())), ("shop/a", "shop/b")),
        ((dry("a", PolicyAction.ALLOW, ON_81), allow("b")), ()),
        ((dry("a", PolicyAction.ALLOW, ON_81), dry("d", PolicyAction.DENY)), ("shop/a", "shop/d")),
    ],
)
def test_dry_run_says_and_does_not(policies: tuple[Authorization, ...], would_deny: tuple[str, ...]) -> None:
    ruling = decide(*policies)
    assert (ruling.allowed, ruling.would_deny) == (True, would_deny)


def test_dry_run_adds_nothing_to_a_denial() -> None:
    assert decide(policy("d"), dry("e", PolicyAction.DENY)).would_deny == ()


@pytest.mark.parametrize(
    "rules",
    [
        (
            (),
            (),
        ),
        one(),
        (((),),),
        (((Match(),), (Match(),)),),
    ],
    ids=["rules", "match", "clause", "clauses"],
)
def test_what_says_nothing_is_taken_for_the_worst(rules: tuple[Rule, ...]) -> None:
    """An empty match is what another control plane leaves of an HTTP field. A rule without clauses is meant to match everything."""
    assert not decide(policy("d", rules)).allowed
    assert decide(allow("a", rules)).allowed is (() in rules)


# Each holds for the connection of WEB from 10.0.0.1 to 10.0.1.1:80, and its negation does not.
HOLDING: dict[str, tuple[object, ...]] = {
    "principals": (TextMatch(TextMatchKind.SUFFIX, "/sa/web"),),
    "namespaces": (TextMatch(TextMatchKind.EXACT, "other"), TextMatch(TextMatchKind.PREFIX, "pa")),
    "service_accounts": (ServiceAccountMatch("pay", "web"),),
    "source_ips": (ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8")),
    "destination_ips": (ip_network("::/0"), ip_network("10.0.1.1")),
    "destination_ports": (443, 80),
}


@pytest.mark.parametrize("field", HOLDING)
def test_each_field_and_its_negation(field: str) -> None:
    assert not decide(policy(rules=one(**{field: HOLDING[field]}))).allowed
    assert decide(policy(rules=one(**{"not_" + field: HOLDING[field]}))).allowed


@pytest.mark.parametrize("field", ["principals", "namespaces", "service_accounts"])
def test_nothing_that_is_asked_of_an_identity_fits_plaintext(field: str) -> None:
    anybody = (TextMatch(TextMatchKind.PRESENCE), TextMatch(TextMatchKind.EXACT, "pay"))
    values = (ServiceAccountMatch("pay", "web"),) if field == "service_accounts" else anybody
    assert decide(policy(rules=one(**{field: values})), asked=connection(None)).allowed
    assert not decide(policy(rules=one(**{"not_" + field: values})), asked=connection(None)).allowed


@pytest.mark.parametrize(
    "text",
    [
        TextMatch(TextMatchKind.EXACT, "cluster.local/ns/pay/sa/web"),
        TextMatch(TextMatchKind.EXACT, "old.example/ns/pay/sa/web"),
        TextMatch(TextMatchKind.PREFIX, "old.example/ns/pay/"),
        TextMatch(TextMatchKind.PREFIX, "cluster"),
        TextMatch(TextMatchKind.PREFIX, "old"),
        TextMatch(TextMatchKind.SUFFIX, "example/ns/pay/sa/web"),
        TextMatch(TextMatchKind.SUFFIX, "local/ns/pay/sa/web"),
    ],
)
def test_an_identity_of_any_of_the_meshs_domains_fits_a_principal_of_any(text: TextMatch) -> None:
    ours = book(policy(rules=one(principals=(text,))), aliases=("old.example", "older.example"))
    for domain in ("cluster.local", "old.example", "older.example"):
        assert not ours.decide(connection(Identity(domain, "pay", "web")), "shop", ()).allowed
    assert ours.decide(connection(Identity("foreign.org", "pay", "web")), "shop", ()).allowed


def test_put_replaces_and_remove_forgets() -> None:
    ours = book(policy("p"), policy("q", ON_81))
    ours.put(policy("p", scope=PolicyScope.SELECTOR))
    assert ours.decide(connection(), "shop", ()).allowed
    ours.put(allow("p", dry_run=True))
    assert ours.decide(connection(), "shop", ()) == Ruling(True, "", Grounds.UNRESTRICTED)
    ours.put(allow("p", ON_81))
    assert ours.decide(connection(), "shop", ()) == Ruling(False, "shop/p", Grounds.NOT_ALLOWED)
    assert {one.key for one in ours} == {"shop/p", "shop/q"}
    for key in ("shop/p", "shop/q", "shop/p", "shop/never"):
        ours.remove(key)
    assert len(ours) == 0
    assert ours.get("shop/p") is None
    assert ours.decide(connection(), "shop", ("shop/p",)).reason is Grounds.NOT_HELD


def test_a_decision_asks_only_the_policies_that_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is no measure on a shared machine: what is counted is how many policies are asked."""
    asked: list[str] = []

    def counting(compiled: Authorization) -> object:
        return lambda _: asked.append(compiled.key)

    monkeypatch.setattr("mesh.policy.evaluation.compile_policy", counting)
    ours = book(*(allow(f"p{number}", namespace=f"ns{number % 1000}") for number in range(10_000)))
    for number in range(3):
        ours.put(policy(f"s{number}", scope=PolicyScope.SELECTOR))
    ours.put(policy("m", scope=PolicyScope.MESH, namespace="istio-system"))
    ours.decide(connection(), "ns7", ("shop/s1",))
    assert sorted(asked) == ["istio-system/m", *sorted(f"ns7/p{number}" for number in range(7, 10_000, 1000)), "shop/s1"]
