"""Which workloads a policy holds for."""

from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter, ValidationError

from mesh.kubernetes.fields import Labels
from mesh.kubernetes.security import AuthorizationPolicy, WorkloadSelector
from mesh.policy.conditions import Problem, Reason, shown
from mesh.policy.model import PolicyScope

_LABELS = TypeAdapter(Labels)


def required_labels(selector: WorkloadSelector | None) -> Mapping[str, str]:
    """Returns the labels that a workload must carry.

    What is no label, and so on no workload, is left out: it is refused in the policy's status, and a policy that is refused must not
    thereby lose workloads that it would have protected.
    """
    return {key: value for key, value in selector.match_labels.items() if _is_label(key, value)} if selector else {}


def find_no_labels(selector: WorkloadSelector | None) -> Iterator[Problem]:
    """Yields what `required_labels` leaves out."""
    for key, value in selector.match_labels.items() if selector else ():
        if not _is_label(key, value):
            yield Problem(f"spec.selector.matchLabels.{key}", Reason.INVALID_VALUE, f"{shown(value)!r} is not the value of a label")


def _is_label(key: str, value: str) -> bool:
    try:
        _LABELS.validate_python({key: value})
    except ValidationError:
        return False
    return True


def scope_of(policy: AuthorizationPolicy, root_namespace: str) -> PolicyScope:
    """Tells whom a policy holds for. A selector without labels selects all, as none does."""
    if required_labels(policy.spec.selector):
        return PolicyScope.SELECTOR
    return PolicyScope.MESH if policy.metadata.namespace == root_namespace else PolicyScope.NAMESPACE
