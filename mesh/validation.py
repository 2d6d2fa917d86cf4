"""From what Kubernetes says of an object to the object, or to every error in it."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from mesh.errors import ConfigError, ConfigErrors
from mesh.kubernetes.fields import KubernetesObject

_T = TypeVar("_T", bound=KubernetesObject)
_MAX_SHOWN = 64


def read_object(kind: type[_T], data: Mapping[str, object], key: str = "") -> _T:
    """Reads an object.

    Args:
        key: where it stands; the path of a field follows it in the errors.
    Raises:
        ConfigErrors: everything that is wrong.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as invalid:
        errors = []
        for error in invalid.errors(include_url=False, include_context=False):
            missing = error["type"] == "missing"
            value, expected = (None, "a value") if missing else (error["input"], _expected(error["msg"]))
            errors.append(wrong(key + ".".join(map(str, error["loc"])), value, expected))
        raise ConfigErrors(tuple(errors)) from None


def wrong(key: str, value: object, expected: str) -> ConfigError:
    """Says that a value is not what it must be; a structure may hold anything, and a text be long: an outline of either is shown."""
    return ConfigError(key.rstrip(":."), _shown(value), expected)


def _expected(message: str) -> str:
    """Turns pydantic's sentence into ours; a tuple is what a list of the manifest becomes."""
    return (
        message.removeprefix("Input should be ").replace("a valid tuple", "a valid list").replace("a valid dictionary", "a valid mapping")
    )


def _shown(value: object) -> object:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else f"a list of {len(value)}"
    return value[:_MAX_SHOWN] if isinstance(value, str) else value
