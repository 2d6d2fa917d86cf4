"""What a lab holds: every object as the user gave it, and as the lab resolved it. Changes do no I/O and make a new one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from lab.documents import CLUSTER_SCOPED, Body, Given, Key
from lab.nodes import node_manifest, resolve_node
from lab.resolve import resolve_namespace, resolve_pod, resolve_service, with_labels, with_name
from lab.scheduling import Placement, free_pod_addresses, free_service_addresses, next_node
from lab.support import refuse_controllers
from mesh.errors import ConfigError, ConfigErrors
from mesh.kubernetes import EndpointSlice, Pod, Service, ServiceEntry

# Objects are resolved in the order in which they refer to one another.
_ORDER = ("Namespace", "Node", "ServiceAccount", "Service", "Pod")
# Every Kubernetes has the one, and every mesh the other: policies there hold for all of it. Source: docs/runtime.md, ROOT_NAMESPACE.
BUILT_IN_NAMESPACES = ("default", "istio-system")

Typed = Pod | Service | EndpointSlice | ServiceEntry


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: `given` decides whether applying it again changes anything; `typed` is what the lab itself reads in the resolved one."""

    given: Body
    resolved: Body
    typed: Typed | None


_TYPES: Mapping[str, type[Typed]] = MappingProxyType({kind.__name__: kind for kind in (Pod, Service, EndpointSlice, ServiceEntry)})


def _entry(given: Body, resolved: Body) -> Entry:
    kind = _TYPES.get(str(resolved.get("kind")))
    return Entry(given, resolved, kind.model_validate(resolved) if kind is not None else None)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Args:
    nodes: names, in the order of their numbers.
    placed: how many pods were given a node in turn so far.
    """

    nodes: tuple[str, ...]
    entries: Mapping[Key, Entry] = field(default_factory=dict)
    placed: int = 0

    def bodies(self, kind: str) -> Mapping[tuple[str, str], Body]:
        """The resolved objects of a kind by (namespace, name)."""
        return {key[1:]: entry.resolved for key, entry in self.entries.items() if key[0] == kind}

    def pods(self) -> Mapping[tuple[str, str], Pod]:
        return {key[1:]: entry.typed for key, entry in self.entries.items() if isinstance(entry.typed, Pod)}

    def services(self) -> Mapping[tuple[str, str], Service]:
        return {key[1:]: entry.typed for key, entry in self.entries.items() if isinstance(entry.typed, Service)}

    def slices(self) -> Mapping[tuple[str, str], EndpointSlice]:
        return {key[1:]: entry.typed for key, entry in self.entries.items() if isinstance(entry.typed, EndpointSlice)}

    def service_entries(self) -> Mapping[tuple[str, str], ServiceEntry]:
        return {key[1:]: entry.typed for key, entry in self.entries.items() if isinstance(entry.typed, ServiceEntry)}

    def namespaces(self) -> tuple[str, ...]:
        return tuple(sorted(name for _, name in self.bodies("Namespace")))

    def resolved(self, key: Key, body: Body) -> "Cluster":
        """The same with another resolved body of an object that there is."""
        return replace(self, entries={**self.entries, key: _entry(self.entries[key].given, body)})

    def without(self, keys: Iterable[Key]) -> "Cluster":
        gone = frozenset(keys)
        return replace(self, entries={key: entry for key, entry in self.entries.items() if key not in gone})


def empty_cluster(nodes: tuple[str, ...]) -> Cluster:
    """A new cluster, of its nodes and the namespaces that are there from the start."""
    cluster = Cluster(nodes)
    namespaces = ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in BUILT_IN_NAMESPACES)
    for body in (*namespaces, *map(node_manifest, nodes)):
        cluster = _apply_one(cluster, Given("", body), "")
    return cluster


def apply(cluster: Cluster, objects: Iterable[Given], new_uid: Callable[[], str]) -> Cluster:
    """Adds objects, or updates those that there are: labels and annotations in place; a pod whose spec differs becomes a new pod.

    Raises:
        ConfigErrors: what cannot be placed or addressed; the objects themselves must have been checked before.
    """
    errors: list[ConfigError] = []
    for given in sorted(objects, key=lambda one: _ORDER.index(one.key[0]) if one.key[0] in _ORDER else len(_ORDER)):
        try:
            cluster = _apply_one(cluster, given, new_uid())
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(tuple(errors))
    return cluster


def _apply_one(cluster: Cluster, given: Given, uid: str) -> Cluster:
    refuse_controllers(given)
    key, body = given.key, with_name(given.body, given.key)
    old = cluster.entries.get(key)
    if old is not None and old.given == given.body:
        return cluster
    placed = cluster.placed
    match key[0]:
        case "Namespace":
            resolved = resolve_namespace(body)
        case "Node":
            resolved = _resolve_node(cluster, given, body)
        case "Service":
            resolved = resolve_service(body, free_service_addresses(given, cluster.without([key]).services().values()))
        case "Pod" if old is not None and old.given["spec"] == given.body["spec"]:
            resolved = {**old.resolved, "metadata": {**body["metadata"], "uid": old.resolved["metadata"]["uid"]}}
        case "Pod":
            placement, placed = _place(cluster.without([key]), given)
            resolved = resolve_pod(given.source, body, uid, placement)
        case _:
            resolved = body
    if old is not None:
        resolved = _keep_labels(resolved, old)
    return replace(cluster, entries={**cluster.entries, key: _entry(given.body, resolved)}, placed=placed)


def _resolve_node(cluster: Cluster, given: Given, body: Body) -> Body:
    if given.key[2] not in cluster.nodes:
        raise ConfigError(f"{given.source}metadata.name", given.key[2], f"one of {', '.join(cluster.nodes)}")
    return resolve_node(body)


def _keep_labels(resolved: Body, old: Entry) -> Body:
    """Labels that no manifest gave (`ambient lab label` did) stay, as kubectl's apply leaves them."""
    manifest = (old.given.get("metadata") or {}).get("labels") or {}
    set_by_hand = {name: value for name, value in (old.resolved["metadata"].get("labels") or {}).items() if name not in manifest}
    given = resolved["metadata"].get("labels") or {}
    return with_labels(resolved, {**set_by_hand, **given}) if set_by_hand else resolved


def _place(cluster: Cluster, given: Given) -> tuple[Placement, int]:
    twin = next((key for key in cluster.entries if key[0] == "Pod" and "-".join(key) == "-".join(given.key)), None)
    if twin is not None:
        expected = f"another name: its network namespace would be that of pod {twin[2]} in {twin[1]}"
        raise ConfigError(f"{given.source}metadata.name", given.key[2], expected)
    node, placed = next_node(given, cluster.nodes, cluster.placed)
    return free_pod_addresses(given, node, cluster.pods().values()), placed


def relabel(cluster: Cluster, key: Key, changes: Mapping[str, str | None]) -> Cluster:
    """Sets labels of an object, or takes away those whose value is None.

    Raises:
        ConfigError: there is no such object.
    """
    require(cluster, key)
    return cluster.resolved(key, with_labels(cluster.entries[key].resolved, changes))


def require(cluster: Cluster, key: Key) -> None:
    """Raises ConfigError when there is no such object, and says which there are."""
    if key not in cluster.entries:
        known = ", ".join(sorted(_name(one) for one in cluster.entries if one[0] == key[0]))
        raise ConfigError(key[0].lower(), _name(key), f"one of {known}" if known else "one that exists: there is none of this kind")


def _name(key: Key) -> str:
    return key[2] if key[0] in CLUSTER_SCOPED else f"{key[1]}/{key[2]}"
