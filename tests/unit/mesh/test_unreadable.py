"""What stands for a policy that cannot be read."""

from typing import Any

import pytest

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.errors import ConfigErrors
from mesh.kubernetes import AuthorizationPolicy, Object, PeerAuthentication, Pod
from mesh.policy.model import Authorization, PolicyAction, PolicyScope
from mesh.settings import MeshSettings
from mesh.unreadable import stand_in
from mesh.validation import read_object

SELECTOR = {"matchLabels": {"app": "web"}}


def enforced(spec: dict[str, Any]) -> Authorization | None:
    """Returns what nodes are told in place of an AuthorizationPolicy with this spec."""
    data = {"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}
    with pytest.raises(ConfigErrors) as wrong:
        read_object(AuthorizationPolicy, data)
    value = stand_in(AuthorizationPolicy, "shop", "p", data, wrong.value.errors[0].key)
    catalogue = Catalogue(MeshSettings())
    catalogue.apply([ObjectChange(ObjectKey("AuthorizationPolicy", "shop", "p"), value)])
    return catalogue.policies.get("shop/p")


@pytest.mark.parametrize(
    ("spec", "action", "scope"),
    [
        ({"selector": SELECTOR, "action": "DENY", "rules": 7}, PolicyAction.DENY, PolicyScope.SELECTOR),
        ({"selector": SELECTOR, "rules": 7}, PolicyAction.ALLOW, PolicyScope.SELECTOR),
        ({"selector": SELECTOR, "action": 7}, PolicyAction.DENY, PolicyScope.SELECTOR),
        ({"selector": 7, "action": "DENY"}, PolicyAction.DENY, PolicyScope.NAMESPACE),
    ],
)
def test_it_holds_for_what_it_selects_and_lets_nobody_in(spec: dict[str, Any], action: PolicyAction, scope: PolicyScope) -> None:
    found = enforced(spec)
    assert found is not None
    assert (found.action, found.scope) == (action, scope)
    # No rule of an ALLOW matches anybody, and the one of a DENY everybody.
    assert found.rules == (() if action is PolicyAction.ALLOW else ((),))


def test_one_for_waypoints_stays_away_from_node_proxies() -> None:
    assert enforced({"targetRefs": [{"kind": "Gateway", "name": "g", "group": "gateway.networking.k8s.io"}], "rules": 7}) is None


def test_mutual_tls_is_strict() -> None:
    value = stand_in(PeerAuthentication, "shop", "p", {"spec": {"mtls": 7}}, "spec.mtls")
    catalogue = Catalogue(MeshSettings())
    key = ObjectKey("PeerAuthentication", "shop", "p")
    catalogue.apply([ObjectChange(key, value)])
    assert [one.message for one in catalogue.conditions[key]][1] == "until it is repaired, it counts as STRICT on every port"


@pytest.mark.parametrize(("kind", "data"), [(Pod, {"spec": 7}), (Pod, {})])
def test_nothing_stands_for_anything_else(kind: type[Object], data: dict[str, Any]) -> None:
    assert stand_in(kind, "shop", "a", data, "spec") is None


@pytest.mark.parametrize("spec", [None, 7, [], "x"])
def test_a_policy_of_which_nothing_can_be_read(spec: object) -> None:
    assert stand_in(AuthorizationPolicy, "shop", "p", {"spec": spec, "metadata": 7}, "spec") is not None
