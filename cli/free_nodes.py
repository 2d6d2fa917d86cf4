"""Takes the mesh off every node: what the chart's pre-delete hook runs, in a pod of the cluster.

Beside each agent there is a second one by now, of the DaemonSet ambient-uninstall, that took over, wants no pod in the mesh, and is
ready when nothing on its node is held any more. ztunnel has carried until then what was open.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cli.kubeconfig import DEFAULT_NAMESPACE
from mesh.errors import ApiError, ApiUnreachable, MeshError
from runtime.kubernetes import Api, Resource, load_access
from runtime.kubernetes.resources import CONFIG_MAPS, LEASES, PODS, SECRETS

_DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
_DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
_UNINSTALL = "ambient-uninstall"
# In this order: agents and their ztunnels, then who signs for them, then what that one made, last those who freed the nodes.
_STEPS = (
    ("agents and ztunnels", _DAEMON_SETS, "ambient"),
    ("control plane", _DEPLOYMENTS, "ambient-controlplane"),
    ("authority", SECRETS, "ambient-ca"),
    ("trust bundle", CONFIG_MAPS, "istio-ca-root-cert"),
    ("lease", LEASES, "ambient-controlplane"),
    ("those who freed the nodes", _DAEMON_SETS, _UNINSTALL),
)
_POLL_S = 1.0


class NodesHeldError(MeshError):
    """Some nodes were not freed in time."""


@click.command(hidden=True)
@click.option("-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--timeout", "timeout_s", default=300, show_default=True, type=click.IntRange(1), help="Seconds.")
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), help="The cluster; else that of this pod.")
def free_nodes(namespace: str, timeout_s: int, kubeconfig: Path | None) -> None:
    """Wait until every node is free of the mesh, then remove its programs."""

    async def work() -> None:
        async with Api(await load_access(kubeconfig), kubeconfig) as api:
            await remove(api, namespace, time.monotonic() + timeout_s)

    asyncio.run(work())


async def remove(api: Api, namespace: str, end_s: float) -> None:
    """Does all of it.

    Raises:
        NodesHeldError: a node was not freed before `end_s` of the monotonic clock; nothing has been removed.
    """
    await _wait_until_free(api, namespace, end_s)
    click.echo("every node is free")
    for what, resource, name in _STEPS:
        await _delete(api, resource, namespace, name)
        if resource in (_DAEMON_SETS, _DEPLOYMENTS):
            while await _pods(api, namespace, name):
                await asyncio.sleep(_POLL_S)
        click.echo(f"{what}: gone")


async def _wait_until_free(api: Api, namespace: str, end_s: float) -> None:
    while True:
        try:
            found = await api.get(_DAEMON_SETS, namespace, _UNINSTALL)
            held = held_nodes(await _pods(api, namespace, _UNINSTALL))
        except ApiUnreachable:
            found, held = None, ()
        if found is not None and is_complete(found) and not held:
            return
        if time.monotonic() >= end_s:
            names = ", ".join(held) or f"nodes without a pod of {_UNINSTALL}"
            raise NodesHeldError(
                f"not freed: {names}. Nothing was removed. Look at the logs of these pods, or remove nodes that will not come back "
                "(kubectl delete node); helm uninstall --no-hooks gives the nodes up"
            )
        await asyncio.sleep(_POLL_S)


def is_complete(daemon_set: Mapping[str, Any]) -> bool:
    """Whether each node has its pod, and each pod is ready."""
    status = daemon_set.get("status", {})
    seen = status.get("observedGeneration", 0) >= daemon_set["metadata"].get("generation", 1)
    wanted: int = status.get("desiredNumberScheduled", 0)
    return bool(seen and status.get("numberReady", 0) >= wanted)


def held_nodes(pods: tuple[Mapping[str, Any], ...]) -> tuple[str, ...]:
    """Names the nodes whose pod is not ready."""
    return tuple(
        pod["spec"].get("nodeName", pod["metadata"]["name"])
        for pod in pods
        if not any(one.get("type") == "Ready" and one.get("status") == "True" for one in pod.get("status", {}).get("conditions", ()))
    )


async def _pods(api: Api, namespace: str, name: str) -> tuple[Mapping[str, Any], ...]:
    page = await api.request("GET", PODS.path(namespace), {"labelSelector": f"app.kubernetes.io/name={name}"})
    return tuple(page.get("items") or ())


async def _delete(api: Api, resource: Resource, namespace: str, name: str) -> None:
    try:
        await api.delete(resource, namespace, name)
    except ApiError as error:
        if error.status != 404:
            raise
