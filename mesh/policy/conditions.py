"""What is said of a policy in its status: whether it was understood, and whether layer 4 enforces it. And what was found wrong with it."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

# A status is read by people, and copied to every watcher: the first few faults are enough to begin with.
MAX_NAMED = 8
MAX_SHOWN_CHARACTERS = 128


class ConditionType(enum.StrEnum):
    """ACCEPTED: all of it was understood. ENFORCED_AT_L4: the node proxies do all of it, as written."""

    ACCEPTED = "Accepted"
    ENFORCED_AT_L4 = "EnforcedAtL4"


class Reason(enum.StrEnum):
    """One word for machines; the first group belongs to ACCEPTED, the second to ENFORCED_AT_L4."""

    ACCEPTED = "Accepted"
    UNKNOWN_FIELD = "UnknownField"
    CONTRADICTION = "Contradiction"
    INVALID_VALUE = "InvalidValue"
    UNSUPPORTED_VALUE = "UnsupportedValue"
    TOO_LARGE = "TooLarge"

    ENFORCED = "Enforced"
    DRY_RUN = "DryRun"
    REQUIRES_WAYPOINT = "RequiresWaypoint"
    TARGETS_WAYPOINT = "TargetsWaypoint"
    OVERRIDDEN = "Overridden"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a policy's status.

    Source: Kubernetes API conventions, "Typical status properties".
    """

    type: ConditionType
    status: bool
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of a policy.

    Args:
        path: of the field, such as "spec.rules.0.from.0.source.principals.1".
        explanation: what would have been accepted, or what is in the way.
    """

    path: str
    reason: Reason
    explanation: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.explanation}"


def shown(text: str) -> str:
    """Returns what a status or a log line may show of a text that anybody wrote: printable, and bounded."""
    start = text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"
    return start if start.isprintable() else ascii(start)


def listed(parts: Sequence[object]) -> str:
    """Joins the first few, and says how many more there are."""
    more = f"; and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
    return "; ".join(str(one) for one in parts[:MAX_NAMED]) + more


def accepted() -> Condition:
    return Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "every field is understood")


def refused(problems: Sequence[Problem], instead: str) -> tuple[Condition, Condition]:
    """Returns the status of a policy that is not enforced as written.

    Args:
        problems: at least one; the first gives the reason.
        instead: what the mesh does in its place.
    """
    return (
        Condition(ConditionType.ACCEPTED, False, problems[0].reason, listed(problems)),
        Condition(ConditionType.ENFORCED_AT_L4, False, Reason.REFUSED, instead),
    )
