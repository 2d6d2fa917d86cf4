"""The status conditions of an object as they are in the cluster, and as they should be. No I/O.

Source: Kubernetes API conventions, "Typical status properties".
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from mesh.policy.conditions import Condition

_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Written:
    """One condition as the cluster holds it; `since` is its lastTransitionTime."""

    type: str
    status: str
    reason: str
    message: str
    generation: int
    since: str


def read_conditions(data: Mapping[str, Any]) -> tuple[int, tuple[Written, ...]]:
    """Returns an object's generation (0: it has none) and the conditions of its status; what is nonsense counts as not there."""
    metadata, status = data.get("metadata"), data.get("status")
    generation = metadata.get("generation") if isinstance(metadata, dict) else None
    found = status.get("conditions") if isinstance(status, dict) else None
    conditions = tuple(_read(one) for one in (found if isinstance(found, list) else ()) if isinstance(one, dict))
    return generation if type(generation) is int else 0, conditions


def wanted_conditions(
    conditions: Iterable[Condition], generation: int, there: Sequence[Written], now: dt.datetime
) -> tuple[Written, ...] | None:
    """Returns what should stand in the status; None: it stands there already.

    Args:
        generation: of the object that the conditions are about.
        there: what stands there; a time of transition stays while the status does. Conditions of others are theirs to keep.
    """
    before = {one.type: one for one in there}
    stamp = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    wanted = []
    for one in conditions:
        status, former = "True" if one.status else "False", before.get(one.type.value)
        since = former.since if former is not None and former.status == status and former.since else stamp
        wanted.append(Written(one.type.value, status, one.reason.value, one.message, generation, since))
    return tuple(wanted) if any(before.get(one.type) != one for one in wanted) else None


def as_status(conditions: Iterable[Written]) -> dict[str, Any]:
    """Returns the status to apply. Kubernetes 1.28 has every field of it."""
    return {
        "conditions": [
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "lastTransitionTime": one.since,
                **({"observedGeneration": one.generation} if one.generation else {}),
            }
            for one in conditions
        ]
    }


def _is_number(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def _read(one: Mapping[str, Any]) -> Written:
    type_, status, reason, message, since = (
        value if isinstance(value := one.get(key), str) else "" for key in ("type", "status", "reason", "message", "lastTransitionTime")
    )
    # JSON of Istio's own schema has 64-bit numbers as text.
    generation = one.get("observedGeneration")
    number = generation if type(generation) is int else int(generation) if _is_number(generation) else 0
    return Written(type_, status, reason, message, number, since)
