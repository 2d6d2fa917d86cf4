"""What can be wrong with an AuthorizationPolicy outside its rules: fields that nobody knows, and fields that contradict one another."""

from collections.abc import Iterator

from mesh.kubernetes.security import AuthorizationPolicy, AuthorizationPolicySpec, TargetReference
from mesh.policy.conditions import Problem, Reason, shown
from mesh.policy.selectors import find_no_labels

DRY_RUN_ANNOTATION = "istio.io/dry-run"
# Source: Istio reads the annotation with Go's strconv.ParseBool.
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

# They are for a proxy that asks another program, or writes a log of requests.
WAYPOINT_ACTIONS = ("CUSTOM", "AUDIT")
_ACTIONS = ("ALLOW", "DENY", *WAYPOINT_ACTIONS)
# Group and kind. Source: Istio's reference of PolicyTargetReference.
_TARGETS = frozenset(
    (
        ("gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.k8s.io", "GatewayClass"),
        ("networking.istio.io", "ServiceEntry"),
        ("core", "Service"),
        ("", "Service"),
    )
)


def is_dry_run(policy: AuthorizationPolicy) -> bool:
    return policy.metadata.annotations.get(DRY_RUN_ANNOTATION) in _TRUE


def find_problems(policy: AuthorizationPolicy) -> Iterator[Problem]:
    spec = policy.spec
    for path in spec.unknown_fields("spec"):
        yield Problem(path, Reason.UNKNOWN_FIELD, "no such field")
    yield from find_no_labels(spec.selector)
    yield from _target_problems(spec)
    if spec.action not in _ACTIONS:
        yield Problem("spec.action", Reason.INVALID_VALUE, f"{shown(spec.action)!r} is none of {', '.join(_ACTIONS)}")
    if spec.provider is not None and spec.action != "CUSTOM":
        yield Problem("spec.provider", Reason.CONTRADICTION, "belongs to the action CUSTOM alone")
    annotation = policy.metadata.annotations.get(DRY_RUN_ANNOTATION, "false")
    if annotation not in _TRUE | _FALSE:
        yield Problem(f"metadata.annotations[{DRY_RUN_ANNOTATION}]", Reason.INVALID_VALUE, f"{shown(annotation)!r} is not true or false")


def _target_problems(spec: AuthorizationPolicySpec) -> Iterator[Problem]:
    targets = dict[str, TargetReference]() if spec.target_ref is None else {"spec.targetRef": spec.target_ref}
    targets |= {f"spec.targetRefs.{position}": one for position, one in enumerate(spec.target_refs)}
    if spec.target_ref is not None and spec.target_refs:
        yield Problem("spec.targetRef", Reason.CONTRADICTION, "cannot stand beside targetRefs")
    if spec.selector is not None and targets:
        yield Problem("spec.selector", Reason.CONTRADICTION, "cannot stand beside targetRefs")
    for path, one in targets.items():
        if (one.group, one.kind) not in _TARGETS or not one.name:
            kind = shown(f"{one.group}/{one.kind}")
            yield Problem(
                path, Reason.INVALID_VALUE, f"{kind!r} is not a Gateway, GatewayClass, Service or ServiceEntry with its group and a name"
            )
