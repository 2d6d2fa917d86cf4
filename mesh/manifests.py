"""From files of Kubernetes manifests to typed objects that fit together, or to every error in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

from mesh.catalogue.changes import ObjectKey
from mesh.errors import ConfigError, ConfigErrors
from mesh.json_documents import FEWER_LEVELS, read_json
from mesh.kubernetes import (
    AuthorizationPolicy,
    EndpointSlice,
    Metadata,
    Namespace,
    NamespaceMetadata,
    Node,
    Object,
    PeerAuthentication,
    Pod,
    Service,
    ServiceAccount,
    ServiceEntry,
    WorkloadEntry,
    qualified_name,
)
from mesh.manifest_checks import DEFAULT, Outline, find_misfits, outline
from mesh.validation import read_object, wrong
from mesh.yaml_documents import read_documents

__all__ = ["Manifests", "Metadata", "Namespace", "Pod", "Service", "ServiceAccount", "parse_manifests", "read_manifest"]

# What else lies in a directory of manifests is not read.
JSON_SUFFIX = ".json"
SUFFIXES = (".yaml", ".yml", JSON_SUFFIX)
_CORE_API = "v1"
# Versions of one kind that are read alike stand side by side. "List" belongs to the core API alone.
_KINDS_BY_API: Mapping[tuple[str, ...], tuple[type[Object], ...]] = MappingProxyType(
    {
        (_CORE_API,): (Namespace, Node, Pod, Service, ServiceAccount),
        ("discovery.k8s.io/v1",): (EndpointSlice,),
        tuple(f"networking.istio.io/{version}" for version in ("v1", "v1beta1", "v1alpha3")): (ServiceEntry, WorkloadEntry),
        tuple(f"security.istio.io/{version}" for version in ("v1", "v1beta1")): (AuthorizationPolicy, PeerAuthentication),
    }
)
_KINDS: Mapping[tuple[str, str], type[Object]] = MappingProxyType(
    {(version, kind.__name__): kind for versions, kinds in _KINDS_BY_API.items() for version in versions for kind in kinds}
)
# Made once: `json.dumps` would make one for each object.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
# A list of lists is nothing that kubectl prints; two levels are generous.
_MAX_LIST_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Manifests:
    """The objects of one reading.

    Args:
        namespaces: by name; "default" is always there.
        pods, services, service_accounts: by "namespace/name".
        ignored: "file:document number:kind" of each object of a kind that we do not know.
        objects: all of them, by key.
    """

    namespaces: Mapping[str, Namespace]
    pods: Mapping[str, Pod]
    services: Mapping[str, Service]
    service_accounts: Mapping[str, ServiceAccount]
    ignored: tuple[str, ...]
    objects: Mapping[ObjectKey, Object]


@dataclass(frozen=True, slots=True)
class Placed:
    """An object, its outline, and a digest of its manifest: the same while the manifest says the same."""

    outline: Outline
    value: Object
    digest: bytes


@dataclass(slots=True)
class Reading:
    """What one or more files hold."""

    placed: list[Placed] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)

    def read(self, key: str, data: object, list_depth: int = 0) -> None:
        if not isinstance(data, dict):
            self._fail(key, data, "an object with apiVersion and kind")
            return
        kind, version = data.get("kind"), data.get("apiVersion")
        if not isinstance(kind, str):
            self._fail(key + "kind", kind, "the kind of an object, such as Pod")
        elif not isinstance(version, str):
            self._fail(key + "apiVersion", version, f"a version such as {_CORE_API}")
        elif (version, kind) == (_CORE_API, "List"):
            self._read_list(key, {}, data.get("items"), list_depth)
        elif (version, kind) in _KINDS:
            self._read_object(key, _KINDS[version, kind], data)
        elif kind.endswith("List") and (version, kind.removesuffix("List")) in _KINDS:
            self._read_list(key, {"kind": kind.removesuffix("List"), "apiVersion": version}, data.get("items"), list_depth)
        else:
            self.ignored.append(f"{key}{kind[:64]}")

    def _read_list(self, key: str, implied: Mapping[str, str], items: object, depth: int) -> None:
        """Reads a List, or a list of one kind (PodList), whose items need not repeat what it implies."""
        if not isinstance(items, list) or depth == _MAX_LIST_DEPTH:
            self._fail(key + "items", items, "a list of objects")
            return
        for position, item in enumerate(items):
            self.read(f"{key}items.{position}.", {**implied, **item} if isinstance(item, dict) else item, depth + 1)

    def _read_object(self, key: str, kind: type[Object], data: dict[str, object]) -> None:
        try:
            value = read_object(kind, data, key)
        except ConfigErrors as invalid:
            self.errors.extend(invalid.errors)
        else:
            self.placed.append(Placed(outline(key, value), value, _digest(data)))

    def _fail(self, key: str, value: object, expected: str) -> None:
        self.errors.append(wrong(key, value, expected))


def read_manifest(file: str, text: str) -> Reading:
    """Reads one file.

    Args:
        file: its name; one that ends in ".json" is JSON, every other is YAML. It may hold many documents, a document may be a List.
    Returns:
        what is in it; what is wrong with it has the key "file:document number:field.path". Whether its objects fit to those of other
        files, `manifest_checks` says.
    """
    reading = Reading()
    documents = [read_json(file, text)] if file.endswith(JSON_SUFFIX) else read_documents(file, text)
    for one in documents:
        if isinstance(one, ConfigError):
            reading.errors.append(one)
        elif one is not None:
            try:
                reading.read(f"{file}:{one.number}:", one.data)
            except RecursionError:
                reading.errors.append(ConfigError(f"{file}:{one.number}", None, FEWER_LEVELS))
    return reading


def parse_manifests(files: Mapping[str, str]) -> Manifests:
    """Reads manifests and checks that they fit together.

    Args:
        files: the text of each file by its name, for `read_manifest`.
    Raises:
        ConfigErrors: everything that is wrong.
    """
    return combine([read_manifest(file, text) for file, text in files.items()])


def combine(readings: Sequence[Reading]) -> Manifests:
    """Checks that what was read fits together.

    Raises:
        ConfigErrors: everything that is wrong, in each reading and between them.
    """
    placed = [one for reading in readings for one in reading.placed]
    errors = [error for reading in readings for error in reading.errors]
    errors += find_misfits([one.outline for one in placed])
    if errors:
        raise ConfigErrors(tuple(errors))
    return _collect(placed, tuple(name for reading in readings for name in reading.ignored))


def _collect(placed: Sequence[Placed], ignored: tuple[str, ...]) -> Manifests:
    namespaces = {DEFAULT: Namespace(metadata=NamespaceMetadata(name=DEFAULT))}
    pods, services, accounts = {}, {}, {}
    objects: dict[ObjectKey, Object] = {ObjectKey("Namespace", "", DEFAULT): namespaces[DEFAULT]}
    for one in placed:
        value, name = one.value, qualified_name(one.value)
        objects[one.outline.key] = value
        if isinstance(value, Namespace):
            namespaces[name] = value
        elif isinstance(value, Pod):
            pods[name] = value
        elif isinstance(value, Service):
            services[name] = value
        elif isinstance(value, ServiceAccount):
            accounts[name] = value
    return Manifests(namespaces, pods, services, accounts, ignored, MappingProxyType(objects))


def _digest(data: dict[str, object]) -> bytes:
    """128 bits: no two manifests have the same by chance."""
    return blake2b(_CANONICAL.encode(data).encode(), digest_size=16).digest()
