"""What the mesh reads of an object must survive the API server: every field of our models is in the definitions, with its type."""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication, ServiceEntry, WorkloadEntry
from mesh.kubernetes.security import PolicyPart
from mesh.manifests import _KINDS_BY_API

CHART = Path(__file__).parents[4] / "daemonset/chart"
KINDS: dict[type[BaseModel], str] = {
    AuthorizationPolicy: "authorizationpolicies",
    PeerAuthentication: "peerauthentications",
    ServiceEntry: "serviceentries",
    WorkloadEntry: "workloadentries",
}
STRUCTURES = {tuple: "array", dict: "object", int: "integer", bool: "boolean"}


def _definition(plural: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((CHART / "files/crds" / f"{plural}.yaml").read_text())
    return read


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation, *_) = (one for one in get_args(annotation) if one is not type(None))
    return annotation


def _misfits(model: type[BaseModel], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Names each field that the schema drops, or has as another type."""
    if issubclass(model, PolicyPart) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield f"{path}: unknown fields would be dropped"
    for name, field in model.model_fields.items():
        spelled = field.alias or name
        if spelled not in schema.get("properties", {}):
            yield f"{path}.{spelled}: missing"
        else:
            yield from _misfits_of(_plain(_without_none(field.annotation)), schema["properties"][spelled], f"{path}.{spelled}")


def _misfits_of(annotation: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _misfits(annotation, schema, path)
        return
    structure = get_origin(annotation) or annotation
    if schema.get("type") != STRUCTURES.get(structure, "string"):
        yield f"{path}: {schema.get('type')} for {annotation}"
    elif structure is tuple:
        yield from _misfits_of(_plain(get_args(annotation)[0]), schema["items"], f"{path}[]")
    elif structure is dict:
        yield from _misfits_of(_plain(get_args(annotation)[1]), schema["additionalProperties"], f"{path}{{}}")


def _plain(annotation: Any) -> Any:
    """The type within Annotated."""
    return _without_none(annotation.__origin__) if hasattr(annotation, "__metadata__") else annotation


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_is_read_is_dropped(kind: type[BaseModel]) -> None:
    spec = kind.model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert not list(_misfits(spec, _definition(KINDS[kind])["spec"], "spec"))


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_of_the_kind(kind: type[BaseModel]) -> None:
    names = _definition(KINDS[kind])["names"]
    assert (names["kind"], names["plural"], names["singular"]) == (kind.__name__, KINDS[kind], kind.__name__.lower())


def test_a_missing_field_and_a_wrong_type_are_found() -> None:
    schema = _definition("workloadentries")["spec"]
    del schema["properties"]["network"]
    schema["properties"]["weight"] = {"type": "string"}
    spec = WorkloadEntry.model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert [one.split(":")[0] for one in _misfits(spec, schema, "spec")] == ["spec.network", "spec.weight"]


def test_versions_are_those_that_are_read() -> None:
    served = {f"{one['group']}/{version}" for one in map(_definition, KINDS.values()) for version in one["versions"]}
    read = {api for apis, kinds in _KINDS_BY_API.items() for api in apis if set(kinds) & set(KINDS)}
    assert served == read
