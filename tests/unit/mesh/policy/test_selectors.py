"""Whom a policy selects. What comes of it for a workload is in test_agreement.py."""

import pytest

from mesh.kubernetes import AuthorizationPolicy
from mesh.policy.model import PolicyScope
from mesh.policy.selectors import required_labels, scope_of


def policy(namespace: str, labels: dict[str, str] | None) -> AuthorizationPolicy:
    selector = {} if labels is None else {"selector": {"matchLabels": labels}}
    return AuthorizationPolicy.model_validate({"metadata": {"name": "p", "namespace": namespace}, "spec": selector})


@pytest.mark.parametrize(
    ("namespace", "labels", "scope"),
    [
        ("shop", None, PolicyScope.NAMESPACE),
        ("shop", {}, PolicyScope.NAMESPACE),
        ("root", None, PolicyScope.MESH),
        ("root", {}, PolicyScope.MESH),
        ("shop", {"app": "web"}, PolicyScope.SELECTOR),
        ("root", {"app": ""}, PolicyScope.SELECTOR),
        ("shop", {"app": "web*"}, PolicyScope.NAMESPACE),
        ("root", {"app": "web*"}, PolicyScope.MESH),
    ],
)
def test_scopes(namespace: str, labels: dict[str, str] | None, scope: PolicyScope) -> None:
    assert scope_of(policy(namespace, labels), "root") is scope


def test_what_is_no_label_does_not_narrow_a_selection() -> None:
    found = policy("shop", {"app": "web*", "a b": "c", "tier": "front", "empty": ""})
    assert required_labels(found.spec.selector) == {"tier": "front", "empty": ""}
    assert required_labels(None) == {}
