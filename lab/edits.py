"""Changes that people ask for, as functions from a cluster to a cluster."""

import uuid
from collections.abc import Callable, Mapping

from lab.cluster import Cluster, apply, relabel
from lab.documents import Key, read_given, write_yaml
from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import parse_manifests

Edit = Callable[[Cluster], Cluster]
_LABELLED_KINDS = {"namespace": "Namespace", "pod": "Pod", "service": "Service"}


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
        keys = frozenset(given.key for given in read_given(files) if not _built_in(given.key))
        namespaces = {name for kind, name, _ in keys if kind == "Namespace"}
        return cluster.without(key for key in cluster.entries if key in keys or key[1] in namespaces)

    return edit


def change_labels(kind: str, name: str, changes: Mapping[str, str | None]) -> Edit:
    """Sets or takes away (None) labels of a namespace, pod or service ("name" or "namespace/name").

    Raises:
        ConfigError: another kind.
    """
    if kind not in _LABELLED_KINDS:
        raise ConfigError("kind", kind, f"one of {', '.join(_LABELLED_KINDS)}")
    namespace, _, short = name.rpartition("/")
    key = (_LABELLED_KINDS[kind], name if kind == "namespace" else namespace or "default", short)
    return lambda cluster: relabel(cluster, key, changes)


def _built_in(key: Key) -> bool:
    return key == ("Namespace", "default", "default")


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
