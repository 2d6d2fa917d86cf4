"""From files of Kubernetes manifests to typed objects that fit together, or to every error in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import ValidationError

from mesh.catalogue.changes import ObjectKey
from mesh.errors import ConfigError, ConfigErrors
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
from mesh.manifest_checks import DEFAULT, Placed, find_clashes, find_dangling, find_duplicates
from mesh.yaml_documents import read_documents

__all__ = ["Manifests", "Metadata", "Namespace", "Pod", "Service", "ServiceAccount", "parse_manifests"]

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


@dataclass(slots=True)
class _Reader:
    """Collects what the files hold."""

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
            self.placed.append(Placed(key, kind.model_validate(data)))
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False, include_context=False):
                path = ".".join(map(str, error["loc"]))
                missing = error["type"] == "missing"
                self._fail(key + path, None if missing else error["input"], "a value" if missing else _expected(error["msg"]))

    def _fail(self, key: str, value: object, expected: str) -> None:
        self.errors.append(ConfigError(key.rstrip(":."), _shown(value), expected))


def parse_manifests(files: Mapping[str, str]) -> Manifests:
    """Reads manifests and checks that they fit together.

    Args:
        files: the YAML text of each file by its name; a file may hold many documents, a document may be a List.
    Raises:
        ConfigErrors: everything that is wrong, each with the key "file:document number:field.path".
    """
    reader = _Reader()
    for file, text in files.items():
        for one in read_documents(file, text):
            if isinstance(one, ConfigError):
                reader.errors.append(one)
            else:
                reader.read(f"{file}:{one.number}:", one.data)
    errors = [*reader.errors, *find_duplicates(reader.placed), *find_dangling(reader.placed), *find_clashes(reader.placed)]
    if errors:
        raise ConfigErrors(tuple(errors))
    return _collect(reader)


def _collect(reader: _Reader) -> Manifests:
    namespaces = {DEFAULT: Namespace(metadata=NamespaceMetadata(name=DEFAULT))}
    pods, services, accounts = {}, {}, {}
    objects: dict[ObjectKey, Object] = {ObjectKey("Namespace", "", DEFAULT): namespaces[DEFAULT]}
    for placed in reader.placed:
        value, name = placed.value, qualified_name(placed.value)
        objects[key_of(value)] = value
        if isinstance(value, Namespace):
            namespaces[name] = value
        elif isinstance(value, Pod):
            pods[name] = value
        elif isinstance(value, Service):
            services[name] = value
        elif isinstance(value, ServiceAccount):
            accounts[name] = value
    return Manifests(namespaces, pods, services, accounts, tuple(reader.ignored), MappingProxyType(objects))


def key_of(value: Object) -> ObjectKey:
    """Names an object."""
    namespace = "" if isinstance(value, Namespace | Node) else value.metadata.namespace
    return ObjectKey(type(value).__name__, namespace, value.metadata.name)


def _expected(message: str) -> str:
    """Turns pydantic's sentence into ours; a tuple is what a list of the manifest becomes."""
    return (
        message.removeprefix("Input should be ").replace("a valid tuple", "a valid list").replace("a valid dictionary", "a valid mapping")
    )


def _shown(value: object) -> object:
    """Returns what may be shown of a value: the outline of a structure (it may hold anything), the start of a long text."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else f"a list of {len(value)}"
    return value[:64] if isinstance(value, str) else value
