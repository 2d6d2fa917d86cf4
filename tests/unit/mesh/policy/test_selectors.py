"""Whom a policy selects."""

from typing import Any

import pytest

from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication
from mesh.policy.model import PolicyScope
from mesh.policy.selectors import required_labels, scope_of, selects

WEB = {"app": "web", "tier": "front"}


def made(kind: type[Any], namespace: str, labels: dict[str, str] | None) -> Any:
    selector = {} if labels is None else {"selector": {"matchLabels": labels}}
    return kind.model_validate({"metadata": {"name": "p", "namespace": namespace}, "spec": selector})


@pytest.mark.parametrize(
    ("namespace", "labels", "policy", "peer"),
    [
        ("shop", None, True, True),
        ("shop", {}, True, True),
        ("pay", None, False, False),
        ("root", None, True, True),
        ("shop", {"app": "web"}, True, True),
        ("shop", {"app": "web", "tier": "front"}, True, True),
        ("shop", {"app": "web", "zone": "a"}, False, False),
        ("shop", {"app": "api"}, False, False),
        ("pay", {"app": "web"}, False, False),
        ("root", {"app": "web"}, True, False),
        ("root", {"app": "api"}, False, False),
    ],
)
def test_selects(namespace: str, labels: dict[str, str] | None, policy: bool, peer: bool) -> None:
    """For a workload of the namespace shop."""
    assert selects(made(AuthorizationPolicy, namespace, labels), "shop", WEB, "root") is policy
    assert selects(made(PeerAuthentication, namespace, labels), "shop", WEB, "root") is peer


def test_a_label_that_must_be_there_empty_is_not_one_that_is_absent() -> None:
    assert not selects(made(AuthorizationPolicy, "shop", {"app": ""}), "shop", {}, "root")
    assert selects(made(AuthorizationPolicy, "shop", {"app": ""}), "shop", {"app": ""}, "root")


def test_what_is_no_label_does_not_narrow_a_selection() -> None:
    policy = made(AuthorizationPolicy, "shop", {"app": "web*", "a b": "c", "tier": "front"})
    assert required_labels(policy.spec.selector) == {"tier": "front"}
    assert scope_of(policy, "root") is PolicyScope.SELECTOR
    assert scope_of(made(AuthorizationPolicy, "shop", {"app": "web*"}), "root") is PolicyScope.NAMESPACE
    assert scope_of(made(AuthorizationPolicy, "root", {"app": "web*"}), "root") is PolicyScope.MESH
