"""Conditions as they are and as they should be."""

import datetime as dt
from typing import Any

import pytest

from controlplane.kubernetes.conditions import as_status, read_conditions, wanted_conditions
from mesh.policy.conditions import Condition, ConditionType, Reason, accepted

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)
REFUSED = Condition(ConditionType.ACCEPTED, False, Reason.UNKNOWN_FIELD, "no")


def policy(generation: int, status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "status": status}


def test_what_is_written_is_wanted_no_more() -> None:
    wanted = wanted_conditions([accepted()], *read_conditions(policy(3)), NOW)
    assert wanted is not None
    written = as_status(wanted)
    assert written == {
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "every field is understood",
                "lastTransitionTime": "2026-01-02T00:00:00Z",
                "observedGeneration": 3,
            }
        ]
    }
    assert wanted_conditions([accepted()], *read_conditions(policy(3, written)), LATER) is None


def test_the_time_is_that_of_the_status() -> None:
    written = as_status(wanted_conditions([accepted()], *read_conditions(policy(3)), NOW) or ())
    newer = wanted_conditions([accepted()], *read_conditions(policy(4, written)), LATER)
    assert newer is not None
    assert (newer[0].generation, newer[0].since) == (4, "2026-01-02T00:00:00Z")
    other = wanted_conditions([REFUSED], *read_conditions(policy(4, written)), LATER)
    assert other is not None
    assert other[0].since == "2026-01-03T00:00:00Z"


def test_numbers_may_be_text_as_in_istio_s_schema() -> None:
    written = as_status(wanted_conditions([accepted()], *read_conditions(policy(3)), NOW) or ())
    written["conditions"][0]["observedGeneration"] = "3"
    assert wanted_conditions([accepted()], *read_conditions(policy(3, written)), LATER) is None


@pytest.mark.parametrize(
    "status", [None, {}, {"conditions": None}, {"conditions": 7}, {"conditions": [7, {"type": 7, "observedGeneration": []}]}]
)
def test_nonsense_is_overwritten(status: Any) -> None:
    assert wanted_conditions([accepted()], *read_conditions(policy(1, status)), NOW) is not None
