"""The reducer of policies: what is held, what was refused, and that nobody gets in by a policy that could not be read."""

from ipaddress import ip_address

import pytest

from mesh.model import SocketAddress
from mesh.policy.evaluation import Grounds, PolicyBook
from mesh.policy.model import Authorization, Connection, PolicyAction, PolicyScope
from ztunnel.discovery.policies import NAMELESS, UNREAD, Policies, PolicyUpdate, PolicyUpsert

CONNECTION = Connection(SocketAddress(ip_address("10.0.2.1"), 0), None, SocketAddress(ip_address("10.0.1.1"), 8080))


def policy(key: str, scope: PolicyScope = PolicyScope.NAMESPACE, action: PolicyAction = PolicyAction.ALLOW) -> Authorization:
    """One that matches nothing: as ALLOW it denies everything, as DENY it denies nothing."""
    namespace, _, name = key.partition("/")
    return Authorization(name, namespace, scope, action, ())


def told(*policies: Authorization, removed: tuple[str, ...] = (), refused: tuple[str, ...] = (), version: str = "1") -> PolicyUpdate:
    return PolicyUpdate(tuple(PolicyUpsert(version, one) for one in policies), removed, dict.fromkeys(refused, "truncated"))


@pytest.fixture
def policies() -> Policies:
    return Policies(PolicyBook("cluster.local"), "root")


def allowed(policies: Policies, namespace: str = "shop", listed: tuple[str, ...] = ()) -> bool:
    return policies.decide(CONNECTION, namespace, listed).allowed


def test_the_first_answer_counts_even_when_it_says_that_there_are_none(policies: Policies) -> None:
    assert not policies.synced
    assert not policies.apply(told()), "no decision was made without it"
    assert policies.synced


def test_a_policy_is_taken_replaced_and_removed(policies: Policies) -> None:
    policies.apply(told())
    assert allowed(policies)
    assert policies.apply(told(policy("shop/a"), version="1"))
    assert not allowed(policies)
    assert not policies.apply(told(policy("shop/a"), version="2")), "the same again is a new version and nothing else"
    assert policies.versions() == {"shop/a": "2"}
    assert policies.apply(told(policy("shop/a", action=PolicyAction.DENY), version="3"))
    assert allowed(policies)
    assert policies.apply(told(removed=("shop/a", "shop/never-there")))
    assert (len(policies), policies.versions()) == (0, {})


@pytest.mark.parametrize(
    ("name", "denied"),
    [
        ("shop/a", {"shop"}),
        ("root/a", {"shop", "bank", "root"}),
        ("nonsense", {"shop", "bank", "root"}),
        (NAMELESS, {"shop", "bank", "root"}),
    ],
)
def test_what_was_refused_and_never_held_denies_wherever_it_may_hold(policies: Policies, name: str, denied: set[str]) -> None:
    policies.apply(told())
    assert policies.apply(told(refused=("" if name == NAMELESS else name,)))
    assert {namespace for namespace in ("shop", "bank", "root") if not allowed(policies, namespace)} == denied
    ruling = policies.decide(CONNECTION, "shop" if "shop" in denied else "root", ())
    assert (ruling.policy, ruling.reason) == (name, Grounds.NOT_HELD)
    assert not policies.apply(told(refused=(name,))), "once more is nothing new"


@pytest.mark.parametrize("end", [told(policy("shop/a", action=PolicyAction.DENY)), told(removed=("shop/a",))], ids=["read", "gone"])
def test_it_denies_until_it_can_be_read_or_is_gone(policies: Policies, end: PolicyUpdate) -> None:
    policies.apply(told(refused=("shop/a",)))
    assert not allowed(policies)
    assert policies.apply(end)
    assert allowed(policies)
    assert not policies.refused


def test_of_what_was_held_the_last_good_version_goes_on(policies: Policies) -> None:
    policies.apply(told(policy("shop/a", action=PolicyAction.DENY), version="7"))
    assert not policies.apply(told(refused=("shop/a",)))
    assert allowed(policies)
    assert (dict(policies.refused), policies.versions()) == ({"shop/a": "truncated"}, {"shop/a": "7"})
    policies.apply(told(removed=("shop/a",)))
    assert (dict(policies.refused), policies.versions(), len(policies)) == ({}, {}, 0)


def test_a_reconnect_names_what_could_not_be_read_so_that_its_removal_is_told(policies: Policies) -> None:
    policies.apply(told(policy("shop/a"), refused=("shop/b",)))
    assert policies.versions() == {"shop/a": "1", "shop/b": UNREAD}


def test_a_listed_policy_that_is_not_held_denies_and_is_named(policies: Policies) -> None:
    policies.apply(told())
    ruling = policies.decide(CONNECTION, "shop", ("shop/selecting",))
    assert (ruling.allowed, ruling.policy) == (False, "shop/selecting")


def test_what_holds_for_a_workload(policies: Policies) -> None:
    wide, near, far = policy("root/wide", PolicyScope.MESH), policy("shop/near"), policy("bank/far")
    policies.apply(told(wide, near, far, policy("shop/other", PolicyScope.SELECTOR)))
    assert policies.effective("shop", ("shop/missing",)) == ("root/wide", "shop/missing", "shop/near")


def test_a_name_without_end_is_kept_in_part_and_can_be_removed(policies: Policies) -> None:
    name = "shop/" + "x" * 100_000
    policies.apply(told(refused=(name,)))
    assert all(len(kept) < 2000 for kept in policies.refused)
    policies.apply(told(removed=(name,)))
    assert allowed(policies)
