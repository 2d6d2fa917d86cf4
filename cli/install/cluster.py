"""What installing does in the cluster besides Helm: the namespace before, waiting, and what Helm leaves after."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from cli.install.progress import Progress, progress_of
from mesh.errors import ApiError, ApiUnreachable, MeshError
from runtime.kubernetes import Api, Resource
from runtime.kubernetes.resources import NAMESPACES

DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
_DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
_PART_OF = "app.kubernetes.io/part-of"
_OURS = "ambient-mesh"
# Source: Kubernetes, "Pod Security Admission": agents need host paths and capabilities.
_ADMISSION = {"pod-security.kubernetes.io/enforce": "privileged"}
_POLL_S = 1.0


class NotReadyError(MeshError):
    """The mesh was installed, and is not ready in time."""


async def make_namespace(api: Api, name: str) -> bool:
    """Makes the namespace where there is none, and marks it as ours; returns whether it did."""
    if await api.get(NAMESPACES, "", name) is not None:
        return False
    await api.create(NAMESPACES, "", {"metadata": {"name": name, "labels": {_PART_OF: _OURS, **_ADMISSION}}})
    return True


async def wait_until_ready(api: Api, namespace: str, timeout_s: float, say: Callable[[str], None]) -> None:
    """Waits for control plane and nodes, and says what changes.

    Raises:
        NotReadyError: it took longer; with how far it is.
    """
    end_s = time.monotonic() + timeout_s
    said: dict[str, str] = {}
    while True:
        now = await _progress(api, namespace)
        for one in now:
            if said.get(one.name) != str(one):
                said[one.name] = str(one)
                say(str(one))
        if all(one.done for one in now):
            return
        if time.monotonic() >= end_s:
            waiting = "; ".join(str(one) for one in now if not one.done)
            raise NotReadyError(f"not ready after {timeout_s:.0f} s: {waiting}. `ambient check` says why")
        await asyncio.sleep(_POLL_S)


async def _progress(api: Api, namespace: str) -> tuple[Progress, ...]:
    workloads = (("control plane", DEPLOYMENTS, "ambient-controlplane"), ("nodes", DAEMON_SETS, "ambient"))
    found: list[Progress] = []
    for what, resource, name in workloads:
        try:
            found.append(progress_of(what, await api.get(resource, namespace, name)))
        except ApiUnreachable:
            # An API server that restarts is no reason to give up.
            found.append(progress_of(what, None))
    return tuple(found)


async def remove_definitions(api: Api, say: Callable[[str], None]) -> None:
    """Removes our custom resource definitions that no object uses; says which stay, and why."""
    listed = await api.request("GET", _DEFINITIONS.path(), {"labelSelector": f"{_PART_OF}={_OURS}"})
    for one in listed.get("items") or ():
        name, count = one["metadata"]["name"], await _count(api, one)
        if count:
            say(f"{name} stays: there {'is' if count == 1 else 'are'} {count} of them (kubectl delete crd {name} removes all)")
        else:
            await api.delete(_DEFINITIONS, "", name)
            say(f"{name} removed")


async def _count(api: Api, definition: dict[str, Any]) -> int:
    """Counts the objects, as far as it matters: none, one, or some."""
    spec = definition["spec"]
    version = next(one["name"] for one in spec["versions"] if one.get("served"))
    kind = Resource(spec["group"], version, spec["names"]["plural"], spec["names"]["kind"])
    page = await api.request("GET", kind.path(), {"limit": "1"})
    return len(page.get("items") or ()) + int(page.get("metadata", {}).get("remainingItemCount") or 0)


async def remove_namespace(api: Api, name: str, say: Callable[[str], None]) -> None:
    """Removes the namespace that `make_namespace` made; another one stays."""
    found = await api.get(NAMESPACES, "", name)
    if found is None or (found["metadata"].get("labels") or {}).get(_PART_OF) != _OURS:
        return
    try:
        await api.delete(NAMESPACES, "", name)
    except ApiError as error:
        say(f"namespace {name} stays: {error}")
        return
    say(f"namespace {name} removed")
