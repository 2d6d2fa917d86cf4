"""The taint that keeps pods off a node until the agent can capture them."""

from collections.abc import Mapping
from typing import Any

import structlog

from mesh.errors import ApiError
from runtime.kubernetes import Api
from runtime.kubernetes.resources import NODES

# Source: Istio, ambient mode, "cni.istio.io/not-ready"; whoever adds nodes to a cluster sets it.
NOT_READY_TAINT = "cni.istio.io/not-ready"
_CONFLICT = 409
_log = structlog.get_logger(scope="node")


def untainted(node: Mapping[str, Any]) -> list[Any] | None:
    """The node's taints without ours; None: it does not have it."""
    taints = (node.get("spec") or {}).get("taints") or []
    left = [taint for taint in taints if taint.get("key") != NOT_READY_TAINT]
    return left if len(left) < len(taints) else None


async def remove_taint(api: Api, node_name: str) -> bool:
    """Removes the taint if the node has it; False: somebody changed the node at the same moment, and it is to be tried again.

    Raises:
        MeshError: the API server refuses, or is away.
    """
    node = await api.get(NODES, "", node_name)
    left = untainted(node) if node is not None else None
    if node is None or left is None:
        return True
    # With the version that was read, so that no taint is lost which somebody adds meanwhile.
    patch = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": left}}
    try:
        await api.merge(NODES, "", node_name, patch)
    except ApiError as error:
        if error.status == _CONFLICT:
            return False
        raise
    _log.info("taint_removed", node=node_name, taint=NOT_READY_TAINT)
    return True
