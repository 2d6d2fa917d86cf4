"""Changes that people ask for, as functions from a cluster to a cluster."""

import uuid
from collections.abc import Callable, Mapping

from lab.cluster import BUILT_IN_NAMESPACES, Cluster, apply, relabel, require
from lab.documents import CLUSTER_SCOPED, Key, object_key, read_given, write_yaml
from lab.kinds import kind_named
from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import parse_manifests

Edit = Callable[[Cluster], Cluster]


def apply_files(files: Mapping[str, str], *, prune: bool = False) -> Edit:
    """Applies files of manifests; with `prune` what they do not name is deleted.

    The edit raises ConfigErrors: everything that is wrong in them, alone or beside what the cluster holds.
    """

    def edit(cluster: Cluster) -> Cluster:
        objects = read_given(files)
        keys = frozenset(given.key for given in objects)
        kept = cluster.without(key for key in cluster.entries if key not in keys and (prune and not _built_in(key)))
        parse_manifests({**files, "the lab": write_yaml(entry.resolved for key, entry in kept.entries.items() if key not in keys)})
        return apply(kept, objects, lambda: str(uuid.uuid4()))

    return edit


def delete_files(files: Mapping[str, str]) -> Edit:
    """Deletes the objects that files of manifests name; with a namespace goes all that is in it."""

    def edit(cluster: Cluster) -> Cluster:
        return _without(cluster, frozenset(given.key for given in read_given(files) if not _built_in(given.key)))

    return edit


def delete_object(kind: str, name: str) -> Edit:
    """Deletes one object ("name" in namespace default, or "namespace/name"); with a namespace goes all that is in it.

    The edit raises ConfigError: there is none, or it is always there.
    Raises:
        ConfigError: no such kind.
    """
    key, found = _key(kind, name), False

    def edit(cluster: Cluster) -> Cluster:
        nonlocal found
        if not found:
            # Once: the lab makes an edit again when the pods that it takes away have ended.
            require(cluster, key)
            found = True
        if _built_in(key):
            raise ConfigError(key[0].lower(), key[2], "another: the lab always has this one")
        return _without(cluster, frozenset((key,)))

    return edit


def change_labels(kind: str, name: str, changes: Mapping[str, str | None]) -> Edit:
    """Sets or takes away (None) labels of an object ("name" in namespace default, or "namespace/name").

    Raises:
        ConfigError: no such kind.
    """
    key = _key(kind, name)
    return lambda cluster: relabel(cluster, key, changes)


def _key(kind: str, name: str) -> Key:
    namespace, _, short = name.rpartition("/")
    return object_key(kind_named(kind), namespace or "default", short)


def _without(cluster: Cluster, keys: frozenset[Key]) -> Cluster:
    namespaces = {name for kind, name, _ in keys if kind == "Namespace"}
    return cluster.without(key for key in cluster.entries if key in keys or (key[0] not in CLUSTER_SCOPED and key[1] in namespaces))


def _built_in(key: Key) -> bool:
    return key[0] == "Node" or (key[0] == "Namespace" and key[2] in BUILT_IN_NAMESPACES)


def parse_label(text: str) -> tuple[str, str | None]:
    """Reads KEY=VALUE, or KEY- which takes the label away.

    Raises:
        ConfigErrors: it is neither.
    """
    name, assigned, value = text.partition("=")
    if assigned and name:
        return name, value
    if text.endswith("-") and len(text) > 1:
        return text[:-1], None
    raise ConfigErrors((ConfigError("label", text, "KEY=VALUE, or KEY- to take it away"),))
