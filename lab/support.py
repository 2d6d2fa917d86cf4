"""What manifests may ask of the lab. What it does not do it refuses aloud, rather than run a pod without it."""

from collections.abc import Iterator, Mapping
from typing import Any

from lab.documents import Body, Given
from mesh.errors import ConfigError

# Their pods are made by controllers, which the lab has none of.
_CONTROLLED = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"})


def refuse_controllers(given: Given) -> None:
    """Raises ConfigError for an object whose pods nobody would make."""
    kind = given.key[0]
    if kind in _CONTROLLED:
        raise ConfigError(f"{given.source}kind", kind, "Pod: the lab has no controllers that would make the pods")


def refuse_unsupported(source: str, pod: Body) -> None:
    """Raises ConfigError for the first thing that the lab cannot do for a pod."""
    error = next(_unsupported(source, pod["spec"]), None)
    if error is not None:
        raise error


def _unsupported(source: str, spec: Mapping[str, Any]) -> Iterator[ConfigError]:
    if spec.get("initContainers"):
        yield ConfigError(f"{source}spec.initContainers", "a list", "none: the lab does not run them")
    for position, container in enumerate(spec["containers"]):
        place = f"{source}spec.containers.{position}."
        if not (container.get("command") or container.get("args")):
            yield ConfigError(f"{place}command", None, "a command: the lab runs programs of this machine, not images")
        if container.get("envFrom"):
            yield ConfigError(f"{place}envFrom", "a list", "none: the lab has neither ConfigMaps nor Secrets")
        for index, variable in enumerate(container.get("env") or ()):
            if not set(variable.get("valueFrom") or {}) <= {"fieldRef"}:
                yield ConfigError(
                    f"{place}env.{index}.valueFrom", ", ".join(variable["valueFrom"]), "a fieldRef: the lab knows no other source"
                )
