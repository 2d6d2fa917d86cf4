"""What became of each policy and ServiceEntry: their status, for those who ask and for the log."""

from collections.abc import Mapping

import structlog

from mesh.catalogue.changes import ObjectKey
from mesh.policy.conditions import Condition

_log = structlog.get_logger()
Conditions = Mapping[ObjectKey, tuple[Condition, ...]]
# One reading of a new cluster can bring ten thousand policies: those that are not enforced are named first.
MAX_LOGGED = 100


def as_json(conditions: Conditions) -> list[dict[str, object]]:
    """Returns what GET /policies answers. Source: Kubernetes API conventions, "Typical status properties"."""
    return [{**key._asdict(), "conditions": [_condition(one) for one in found]} for key, found in sorted(conditions.items())]


class StatusLog:
    """Writes a line for each object whose conditions are others than they were.

    Args:
        conditions: a live view.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._reported: dict[ObjectKey, tuple[Condition, ...]] = {}

    def report(self) -> None:
        changed = [key for key, found in self._conditions.items() if self._reported.get(key) != found]
        changed.sort(key=lambda key: (all(one.status for one in self._conditions[key]), key))
        for key in changed[:MAX_LOGGED]:
            conditions = {one.type.value: f"{one.status}: {one.reason.value}: {one.message}" for one in self._conditions[key]}
            write = _log.info if all(one.status for one in self._conditions[key]) else _log.warning
            write("policy_status", **key._asdict(), **conditions)
        if len(changed) > MAX_LOGGED:
            _log.info("policy_status_omitted", count=len(changed) - MAX_LOGGED)
        self._reported = dict(self._conditions)


def _condition(condition: Condition) -> dict[str, object]:
    status = "True" if condition.status else "False"
    return {"type": condition.type.value, "status": status, "reason": condition.reason.value, "message": condition.message}
