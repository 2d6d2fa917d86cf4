"""What is said of a policy: once in the log for each change, and whenever it is asked for."""

from typing import Any

import structlog

from controlplane.policy_status import StatusLog, as_json
from mesh.catalogue.changes import ObjectKey
from mesh.policy.conditions import Condition, ConditionType, Reason, accepted
from tests.unit.controlplane.world import World, namespace

GOOD = (accepted(), Condition(ConditionType.ENFORCED_AT_L4, True, Reason.ENFORCED, "by the node proxies"))
BAD = (Condition(ConditionType.ACCEPTED, False, Reason.UNKNOWN_FIELD, "spec.x: unknown"),)
A, B = ObjectKey("AuthorizationPolicy", "shop", "a"), ObjectKey("AuthorizationPolicy", "shop", "b")


def lines(log: StatusLog) -> list[tuple[str, str, str]]:
    with structlog.testing.capture_logs() as logs:
        log.report()
    return [(line["log_level"], line["name"], line["Accepted"]) for line in logs]


def test_a_policy_is_logged_when_its_conditions_change() -> None:
    conditions = {A: GOOD, B: BAD}
    log = StatusLog(conditions)
    good, bad = "True: Accepted: every field is understood", "False: UnknownField: spec.x: unknown"
    assert lines(log) == [("warning", "b", bad), ("info", "a", good)]
    assert lines(log) == []
    conditions[B] = GOOD
    assert lines(log) == [("info", "b", good)]
    del conditions[B]
    assert lines(log) == []
    conditions[B] = GOOD
    assert lines(log) == [("info", "b", good)]


def test_it_is_answered_as_kubernetes_writes_it() -> None:
    [first, second] = as_json({B: BAD, A: GOOD})
    assert first["name"] == "a"
    condition = {"type": "Accepted", "status": "False", "reason": "UnknownField", "message": "spec.x: unknown"}
    assert second == {"kind": "AuthorizationPolicy", "namespace": "shop", "name": "b", "conditions": [condition]}


async def test_it_is_served(world: World) -> None:
    policy: dict[str, Any] = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"rules": [{"nobodyKnows": 1}]},
    }
    world.write(namespace("shop"), policy)
    async with world.running() as plane:
        await plane.ready()
        [status] = await plane.page("/policies")
    assert [status["kind"], status["namespace"], status["name"]] == ["AuthorizationPolicy", "shop", "a"]
    assert {one["type"]: one["status"] for one in status["conditions"]}["Accepted"] == "False"
