"""What goldens cannot show: limits, and that nothing that types allow makes the conversion fail."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication
from mesh.kubernetes.security import Operation, Source
from mesh.policy.conditions import MAX_NAMED, MAX_SHOWN_CHARACTERS, Reason
from mesh.policy.conversion import convert_policy
from mesh.policy.limits import MAX_PARTS, count_parts
from mesh.policy.mutual_tls import MAX_PORTS, effective_mode, peer_conditions, strict_policy
from mesh.settings import MeshSettings
from mesh.wire.policies import authorization_from_wire, authorization_to_wire

SETTINGS = MeshSettings()


def converted(**spec: Any) -> Any:
    return convert_policy(AuthorizationPolicy.model_validate({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}), SETTINGS)


def ports(count: int) -> list[Any]:
    return [{"to": [{"operation": {"ports": ["80"] * count}}]}]


def test_a_policy_may_be_as_large_as_the_wire_takes() -> None:
    found = converted(action="DENY", rules=ports(MAX_PARTS - 3)).authorization
    assert count_parts(found.rules) == MAX_PARTS
    assert authorization_from_wire(authorization_to_wire(found)) == found


def test_a_policy_that_is_too_large_is_refused_and_fails_closed() -> None:
    found = converted(action="DENY", rules=ports(MAX_PARTS - 2))
    assert found.authorization.rules == ((),)
    assert [one.reason for one in found.conditions] == [Reason.TOO_LARGE, Reason.REFUSED]


def test_a_status_stays_short() -> None:
    texts = ["*" * 10_000] * 1000
    message = converted(rules=[{"from": [{"source": {"principals": texts}}]}]).conditions[0].message
    assert "and 992 more" in message
    assert len(message) < MAX_NAMED * (MAX_SHOWN_CHARACTERS + 200)


def test_an_unknown_field_may_be_called_anything() -> None:
    name = "\x1b[31m" + "x" * 100_000
    message = converted(**{name: 1}).conditions[0].message
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize(("count", "reason"), [(MAX_PORTS, Reason.ACCEPTED), (MAX_PORTS + 1, Reason.TOO_LARGE)])
def test_no_more_ports_of_one_workload_than_nodes_take(count: int, reason: Reason) -> None:
    modes = {str(port): {"mode": "STRICT"} for port in range(1, count + 1)}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": modes}
    policy = PeerAuthentication.model_validate({"metadata": {"name": "p"}, "spec": spec})
    assert peer_conditions(policy)[0].reason is reason
    strict = strict_policy(effective_mode([], [], [policy]), "istio-system")
    assert strict is not None
    assert authorization_from_wire(authorization_to_wire(strict)) == strict
    assert (strict.name == "mutual_tls_strict") is (reason is Reason.TOO_LARGE)


texts = st.text(max_size=12) | st.sampled_from(
    ["*", "a*", "*a", "spiffe://a", "80", "10.0.0.0/8", "a/b", "::1", "source.ip", "request.headers[a]"]
)
lists = st.lists(texts, max_size=3)
anything = st.recursive(
    st.none() | st.booleans() | texts, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2)
)


def part(kind: type[Source] | type[Operation]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {info.alias or name: lists for name, info in kind.model_fields.items()}
    return st.fixed_dictionaries({}, optional={**fields, "unknown": anything})


rules = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(st.fixed_dictionaries({}, optional={"source": part(Source), "x": anything}), max_size=2),
        "to": st.lists(st.fixed_dictionaries({}, optional={"operation": part(Operation)}), max_size=2),
        "when": st.lists(st.fixed_dictionaries({}, optional={"key": texts, "values": lists, "notValues": lists}), max_size=2),
    },
)
selectors = st.fixed_dictionaries({}, optional={"matchLabels": st.dictionaries(texts, texts, max_size=2), "x": anything})
specs = st.fixed_dictionaries(
    {},
    optional={
        "selector": selectors,
        "action": texts | st.sampled_from(["ALLOW", "DENY", "CUSTOM", "AUDIT"]),
        "rules": st.lists(rules, max_size=2),
        "targetRefs": st.lists(st.fixed_dictionaries({}, optional={"kind": texts}), max_size=1),
        "provider": st.fixed_dictionaries({}, optional={"name": texts}),
        "y": anything,
    },
)


@given(specs, st.dictionaries(st.sampled_from(["istio.io/dry-run"]), texts | st.sampled_from(["true", "false"])))
def test_whatever_is_written_is_converted_and_taken_by_the_wire(spec: dict[str, Any], annotations: dict[str, str]) -> None:
    metadata = {"name": "p", "namespace": "shop", "annotations": annotations}
    found = convert_policy(AuthorizationPolicy.model_validate({"metadata": metadata, "spec": spec}), SETTINGS)
    assert all(one.message.isprintable() for one in found.conditions)
    if found.authorization is not None:
        assert authorization_from_wire(authorization_to_wire(found.authorization)) == found.authorization


modes = st.fixed_dictionaries({}, optional={"mode": texts | st.sampled_from(["STRICT", "PERMISSIVE", "UNSET", "DISABLE"]), "x": anything})
peers = st.fixed_dictionaries(
    {}, optional={"selector": selectors, "mtls": modes, "portLevelMtls": st.dictionaries(texts, modes, max_size=3), "y": anything}
)


@given(peers, texts)
def test_whatever_is_written_of_mutual_tls_has_an_answer(spec: dict[str, Any], age: str) -> None:
    policy = PeerAuthentication.model_validate({"metadata": {"name": "p", "creationTimestamp": age}, "spec": spec})
    assert all(one.message.isprintable() for one in peer_conditions(policy))
    strict = strict_policy(effective_mode([], [], [policy]), "istio-system")
    assert strict is None or authorization_from_wire(authorization_to_wire(strict)) == strict
