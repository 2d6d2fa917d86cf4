"""AuthorizationPolicy and PeerAuthentication as objects: types are checked, what is unknown is kept and listed."""

from typing import Any

import pytest
from pydantic import ValidationError

from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication


def policy(spec: Any) -> AuthorizationPolicy:
    return AuthorizationPolicy.model_validate({"metadata": {"name": "p"}, "status": {"x": 1}, "spec": spec})


def unknown(spec: Any) -> list[str]:
    return list(policy(spec).spec.unknown_fields("spec"))


def test_unknown_fields_are_listed_with_their_paths() -> None:
    spec = {
        "z": 1,
        "selector": {"matchExpressions": []},
        "rules": [{}, {"from": [{"source": {"principals": ["a"], "principal": "a"}}], "to": [{"op": {}}], "From": []}],
        "targetRefs": [{"kind": "Gateway", "port": 1}],
    }
    assert unknown(spec) == [
        "spec.z",
        "spec.selector.matchExpressions",
        "spec.targetRefs.0.port",
        "spec.rules.1.From",
        "spec.rules.1.from.0.source.principal",
        "spec.rules.1.to.0.op",
    ]


def test_unknown_fields_of_ports_are_listed() -> None:
    spec = {"mtls": {"tls": 1}, "portLevelMtls": {"80": {"mode": "STRICT", "tls": 1}}}
    read = PeerAuthentication.model_validate({"metadata": {"name": "p"}, "spec": spec})
    assert list(read.spec.unknown_fields("spec")) == ["spec.mtls.tls", "spec.portLevelMtls.80.tls"]


@pytest.mark.parametrize("name", ["not_principals", "from_", "unknown_fields", "model_fields", "__class__"])
def test_names_of_python_are_unknown_and_have_no_effect(name: str) -> None:
    spec = {"rules": [{"from": [{"source": {"namespaces": ["a"], name: ["b"]}}]}]}
    assert unknown(spec) == [f"spec.rules.0.from.0.source.{name}"]
    (rule,) = policy(spec).spec.rules
    assert rule.from_ is not None
    assert rule.from_[0].source is not None
    assert rule.from_[0].source.not_principals == ()


def test_null_is_absent() -> None:
    assert policy({"selector": None, "rules": [{"from": None, "x": None}], "action": None}) == policy({"rules": [{}]})
    assert policy(None) == policy({})


def test_a_list_that_is_there_and_empty_is_not_absent() -> None:
    (absent, empty) = policy({"rules": [{}, {"from": []}]}).spec.rules
    assert (absent.from_, empty.from_) == (None, ())


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ([], ("spec",)),
        ({"rules": {}}, ("spec", "rules")),
        ({"rules": ["x"]}, ("spec", "rules", 0)),
        ({"rules": [{"from": [{"source": {"principals": "a"}}]}]}, ("spec", "rules", 0, "from", 0, "source", "principals")),
        ({"rules": [{"to": [{"operation": {"ports": [80]}}]}]}, ("spec", "rules", 0, "to", 0, "operation", "ports", 0)),
        ({"rules": [{"when": [{"key": 1}]}]}, ("spec", "rules", 0, "when", 0, "key")),
        ({"selector": {"matchLabels": {"a": 1}}}, ("spec", "selector", "matchLabels", "a")),
        ({"action": 1}, ("spec", "action")),
        ({"targetRefs": {}}, ("spec", "targetRefs")),
    ],
)
def test_wrong_types_are_errors(spec: Any, where: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        policy(spec)
    assert [error["loc"] for error in refused.value.errors()] == [where]


@pytest.mark.parametrize(
    "spec", [{"mtls": "STRICT"}, {"mtls": {"mode": True}}, {"portLevelMtls": [80]}, {"portLevelMtls": {"80": "STRICT"}}]
)
def test_wrong_types_of_peer_authentications_are_errors(spec: Any) -> None:
    with pytest.raises(ValidationError):
        PeerAuthentication.model_validate({"metadata": {"name": "p"}, "spec": spec})
