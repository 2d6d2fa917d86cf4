"""What manifests become, against golden files; together they cover the schema.

To accept a change: REGOLD=1 .venv/bin/python -m pytest tests/unit/mesh/policy/test_golden_policies.py, and read the diff.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.errors import ConfigError
from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication, Pod
from mesh.kubernetes.security import AuthorizationPolicySpec, PeerAuthenticationSpec, PolicyPart
from mesh.policy.conditions import Condition, ConditionType, Reason
from mesh.policy.conversion import Converted, convert_policy
from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope, TextMatchKind
from mesh.policy.mutual_tls import Mode, peer_conditions
from mesh.policy.rules import L4_CONDITIONS
from mesh.settings import MeshSettings
from mesh.wire import authorization_pb2 as pb
from mesh.wire.policies import authorization_from_wire, authorization_to_wire
from mesh.yaml_documents import read_documents
from tests.unit.mesh.policy.rendering import render_conditions, render_listed, render_policy

GOLDEN = Path(__file__).parents[3] / "golden" / "policies"
SETTINGS = MeshSettings()
KINDS = {kind.__name__: kind for kind in (AuthorizationPolicy, PeerAuthentication, Pod)}
INPUTS = sorted(GOLDEN.glob("*.yaml"))


def documents(path: Path) -> Iterator[dict[str, Any]]:
    for one in read_documents(path.name, path.read_text()):
        assert not isinstance(one, ConfigError)
        assert isinstance(one.data, dict)
        yield one.data


def of_kind(kind: type[BaseModel], *paths: Path) -> list[Any]:
    return [kind.model_validate(data) for path in paths for data in documents(path) if data["kind"] == kind.__name__]


def converted() -> list[Converted]:
    return [convert_policy(one, SETTINGS) for one in of_kind(AuthorizationPolicy, *INPUTS)]


def compiled() -> list[Authorization]:
    return [one.authorization for one in converted() if one.authorization is not None]


def catalogue(path: Path) -> Catalogue:
    held = Catalogue(SETTINGS)
    for data in documents(path):
        kind = KINDS[data["kind"]]
        key = ObjectKey(data["kind"], data["metadata"]["namespace"], data["metadata"]["name"])
        held.apply([ObjectChange(key, kind.model_validate(data))])
    return held


def peer_status(path: Path, policy: PeerAuthentication) -> tuple[Condition, ...]:
    return catalogue(path).conditions[ObjectKey("PeerAuthentication", policy.metadata.namespace, policy.metadata.name)]


def mutual_tls(path: Path, pod: dict[str, Any]) -> str:
    """Renders what a pod lists: in these files, what nobody wrote."""
    held = catalogue(path)
    (workload,) = (
        one for one in held.workloads.values() if (one.namespace, one.name) == (pod["metadata"]["namespace"], pod["metadata"]["name"])
    )
    return render_listed(held.policies[key] for key in workload.policies)


def render(path: Path) -> str:
    rendered = []
    for data in documents(path):
        name = f"{data['kind']} {data['metadata']['namespace']}/{data['metadata']['name']}"
        if data["kind"] == "AuthorizationPolicy":
            result = convert_policy(AuthorizationPolicy.model_validate(data), SETTINGS)
            text = render_policy(result.authorization, result.conditions)
        elif data["kind"] == "PeerAuthentication":
            text = "\n".join(render_conditions(peer_status(path, PeerAuthentication.model_validate(data))))
        else:
            text = mutual_tls(path, data)
        rendered.append(f"{name}\n{text}\n")
    return "\n".join(rendered)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_policies_are_the_golden_ones(path: Path) -> None:
    golden, rendered = path.with_suffix(".txt"), render(path)
    if os.environ.get("REGOLD"):
        golden.write_text(rendered)
    assert rendered == golden.read_text()


def test_every_golden_file_has_its_input() -> None:
    assert {path.stem for path in INPUTS} == {path.stem for path in GOLDEN.glob("*.txt")}


def test_goldens_come_back_from_the_wire() -> None:
    for policy in compiled():
        assert authorization_from_wire(pb.Authorization.FromString(authorization_to_wire(policy).SerializeToString())) == policy


def parts(annotation: Any) -> Iterator[type[PolicyPart]]:
    """Yields the types with fields of their own in an annotation such as dict[str, X] or tuple[X, ...] | None."""
    if isinstance(annotation, type) and issubclass(annotation, PolicyPart):
        yield annotation
    for inner in get_args(annotation):
        yield from parts(inner)


def schema(kind: type[BaseModel]) -> Iterator[str]:
    """Yields the path of every field under a type."""
    for name, info in kind.model_fields.items():
        here = info.alias or name
        yield here
        yield from (f"{here}.{below}" for part in parts(info.annotation) for below in schema(part))


def used(value: Any) -> Iterator[str]:
    """Yields the path of every field that has a value under an object, without positions and keys."""
    if isinstance(value, tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from used(one)
    elif isinstance(value, PolicyPart):
        for name, info in type(value).model_fields.items():
            if inner := getattr(value, name):
                here = info.alias or name
                yield here
                yield from (f"{here}.{below}" if below else here for below in used(inner))


def holds(conditions: Iterable[Condition], kind: ConditionType) -> bool:
    return next(one.status for one in conditions if one.type is kind)


def test_every_field_of_an_authorization_policy_is_in_an_accepted_one() -> None:
    policies = of_kind(AuthorizationPolicy, *INPUTS)
    accepted = [one for one in policies if holds(convert_policy(one, SETTINGS).conditions, ConditionType.ACCEPTED)]
    missing = set(schema(AuthorizationPolicySpec)) - {path for one in accepted for path in used(one.spec)}
    assert not missing


def test_every_field_of_a_peer_authentication_is_in_an_accepted_one() -> None:
    accepted = [one for one in of_kind(PeerAuthentication, *INPUTS) if holds(peer_conditions(one), ConditionType.ACCEPTED)]
    missing = set(schema(PeerAuthenticationSpec)) - {path for one in accepted for path in used(one.spec)}
    assert not missing
    assert {mode.value for mode in Mode} < {one.spec.mtls.mode for one in accepted}


def test_every_condition_of_layer_4_is_there_with_values_and_without() -> None:
    whens = [when for one in of_kind(AuthorizationPolicy, *INPUTS) for rule in one.spec.rules for when in rule.when or ()]
    for key in L4_CONDITIONS:
        assert any(when.values for when in whens if when.key == key)
        assert any(when.not_values for when in whens if when.key == key)


def test_every_field_that_layer_4_knows_is_in_a_compiled_policy() -> None:
    matches = [match for policy in compiled() for rule in policy.rules for clause in rule for match in clause]
    assert {one.name for one in fields(Match) if any(getattr(match, one.name) for match in matches)} == {one.name for one in fields(Match)}
    assert {text.kind for match in matches for text in match.principals} == set(TextMatchKind)
    assert {text.kind for match in matches for text in match.namespaces} == set(TextMatchKind)


def test_every_scope_action_and_refusal_is_there() -> None:
    assert {one.scope for one in compiled()} == set(PolicyScope)
    assert {one.action for one in compiled()} == set(PolicyAction)
    assert {one.dry_run for one in compiled()} == {True, False}
    conditions = [condition for one in converted() for condition in one.conditions]
    conditions += [condition for path in INPUTS for one in of_kind(PeerAuthentication, path) for condition in peer_status(path, one)]
    # What is too large is written out in test_conversion.py.
    assert {one.reason for one in conditions} == set(Reason) - {Reason.TOO_LARGE}
