"""What it takes to run a pod's containers, from its resolved manifest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.documents import Body

# Source: Kubernetes, "Define Dependent Environment Variables": $(NAME), and $$(NAME) for the text itself.
_REFERENCE = re.compile(r"\$\$\(|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
# A pod's container ends within this when it is asked to. Source: Kubernetes, PodSpec, terminationGracePeriodSeconds.
_DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """Args:
    tcp_ports: the container is ready when all of them are listened on.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str
    tcp_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PodRun:
    """Everything that the runner of a pod is told.

    Args:
        netns: path of the network namespace.
        hosts: the file that the pod sees as /etc/hosts.
        log: what the containers write goes to its end.
        restart_policy: Always, OnFailure or Never.
    """

    hostname: str
    netns: str
    hosts: str
    log: str
    restart_policy: str
    grace_s: float
    containers: tuple[ContainerRun, ...]


def pod_run(pod: Body, *, netns: str, hosts: str, log: str, path: str) -> PodRun:
    """Reads a resolved pod.

    Args:
        path: the PATH of its containers, unless they set their own.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    grace_s = spec.get("terminationGracePeriodSeconds")
    base = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "HOSTNAME": metadata["name"]}
    return PodRun(
        hostname=metadata["name"],
        netns=netns,
        hosts=hosts,
        log=log,
        restart_policy=spec.get("restartPolicy") or "Always",
        grace_s=_DEFAULT_GRACE_S if grace_s is None else float(grace_s),
        containers=tuple(_container(pod, container, base) for container in spec["containers"]),
    )


def _container(pod: Body, container: Mapping[str, Any], base: Mapping[str, str]) -> ContainerRun:
    env = dict(base)
    for variable in container.get("env") or ():
        env[variable["name"]] = _value(pod, variable, env)
    argv = [*(container.get("command") or ()), *(container.get("args") or ())]
    ports = [one["containerPort"] for one in container.get("ports") or () if (one.get("protocol") or "TCP") == "TCP"]
    expanded = tuple(_expand(word, env) for word in argv)
    return ContainerRun(container["name"], expanded, env, container.get("workingDir") or "/", tuple(ports))


def _value(pod: Body, variable: Mapping[str, Any], env: Mapping[str, str]) -> str:
    source = variable.get("valueFrom") or {}
    field = (source.get("fieldRef") or {}).get("fieldPath")
    return _expand(variable.get("value") or "", env) if field is None else str(_field(pod, field))


def _field(pod: Body, path: str) -> object:
    """A field of the pod by its path, "" where there is none. Source: Kubernetes, "Downward API"."""
    value: Any = pod
    for name in path.split("."):
        value = value.get(name, "") if isinstance(value, Mapping) else ""
    return value


def _expand(text: str, env: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$(" if name is None else env.get(name, match.group(0))

    return _REFERENCE.sub(replace, text)
