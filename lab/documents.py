"""The user's manifests as raw objects: what the lab fills in must leave everything else as it was written."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mesh.errors import ConfigError, ConfigErrors
from mesh.yaml_documents import Document, read_documents

Body = Mapping[str, Any]
Key = tuple[str, str, str]

# They lie in no namespace; of all other kinds Kubernetes says "default" when the manifest says nothing.
CLUSTER_SCOPED = frozenset({"Namespace", "Node"})


@dataclass(frozen=True, slots=True)
class Given:
    """One object as the user wrote it, and where it stands ("file:document number:", and its path in a List)."""

    source: str
    body: Body

    @property
    def key(self) -> Key:
        return key_of(self.body)


def key_of(body: Body) -> Key:
    """The key of an object, its namespace "default" where it names none."""
    kind, metadata = str(body.get("kind")), body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return object_key(kind, str(metadata.get("namespace") or "default"), str(metadata.get("name") or ""))


def object_key(kind: str, namespace: str, name: str) -> Key:
    """(kind, namespace, name); the namespace of a Namespace is its own name, and that of a Node is ""."""
    if kind not in CLUSTER_SCOPED:
        return kind, namespace, name
    return kind, name if kind == "Namespace" else "", name


def read_given(files: Mapping[str, str]) -> tuple[Given, ...]:
    """Reads the objects of files, Lists taken apart, and checks no more of them than that.

    Raises:
        ConfigErrors: a document is not YAML, or no object.
    """
    read = [(file, one) for file, text in files.items() for one in read_documents(file, text)]
    errors = [error for file, one in read for error in _errors(file, one)]
    if errors:
        raise ConfigErrors(tuple(errors))
    return tuple(given for file, one in read if isinstance(one, Document) for given in _items(f"{file}:{one.number}:", one.data))


def _errors(file: str, one: Document | ConfigError) -> Iterator[ConfigError]:
    if isinstance(one, ConfigError):
        yield one
    elif not (isinstance(one.data, Mapping) and isinstance(one.data.get("kind"), str)):
        yield ConfigError(f"{file}:{one.number}", None, "an object with apiVersion and kind")


def _items(source: str, data: Any) -> Iterator[Given]:
    kind = str(data.get("kind"))
    if not (kind.endswith("List") and isinstance(data.get("items"), list)):
        yield Given(source, data)
        return
    implied = {"apiVersion": data.get("apiVersion"), "kind": kind.removesuffix("List")} if kind != "List" else {}
    for position, item in enumerate(data["items"]):
        if isinstance(item, Mapping):
            yield from _items(f"{source}items.{position}.", {**implied, **item})


# A text that no reader of YAML takes for anything else; all others are quoted ("1e3" and "no" are texts to some readers only).
_PLAIN = re.compile(r"(?!(?i:yes|no|on|off|true|false|null|y|n)\Z)[A-Za-z][A-Za-z0-9./_-]*")


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, which people do not read well."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _PLAIN.fullmatch(text) else '"')


_Dumper.add_representer(str, _represent_text)


def write_yaml(bodies: Iterable[Body]) -> str:
    """The objects as one multi-document text, fields in the order that they have."""
    return yaml.dump_all(bodies, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=1000)
