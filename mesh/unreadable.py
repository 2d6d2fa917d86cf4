"""What stands for a policy that cannot be read: it holds for what it selects, and lets nobody in.

Kubernetes checks policies against their schema, so that it takes a schema of others to have one here. Without a stand-in such a policy
would be absent, and what it denies would be let in.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mesh.errors import ConfigErrors
from mesh.kubernetes import AuthorizationPolicy, Object, PeerAuthentication
from mesh.kubernetes.security import WorkloadSelector
from mesh.validation import read_object

_TIME = "creationTimestamp"


def stand_in(kind: type[Object], namespace: str, name: str, data: Mapping[str, Any], field: str) -> Object | None:
    """Returns what is enforced in place of an object that cannot be read; None: nothing, for it is no policy, or one for waypoints.

    Args:
        field: the path of what is wrong, for the policy's status.
    """
    if kind not in {AuthorizationPolicy, PeerAuthentication}:
        return None
    spec = _mapping(data.get("spec"))
    selector = _selector(spec.get("selector"))
    if selector is None and ("targetRef" in spec or "targetRefs" in spec):
        return None
    created = _mapping(data.get("metadata")).get(_TIME)
    # A field that nobody knows: policies that carry one are refused, which is what there is to be.
    kept: dict[str, Any] = {f"{field.removeprefix('spec.')} (unreadable)": True, "selector": selector}
    if kind is AuthorizationPolicy and (action := spec.get("action")) is not None:
        # An action that nobody knows counts as DENY (see mesh.policy.conversion).
        kept["action"] = action if isinstance(action, str) else "DENY"
    metadata = {"namespace": namespace, "name": name, _TIME: created if isinstance(created, str) else ""}
    try:
        return read_object(kind, {"metadata": metadata, "spec": kept})
    except ConfigErrors:
        return None


def _selector(value: object) -> dict[str, Any] | None:
    try:
        WorkloadSelector.model_validate(value)
    except ValidationError:
        return None
    assert isinstance(value, dict)
    return value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
