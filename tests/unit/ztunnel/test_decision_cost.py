"""What a decision costs does not grow with the policies that do not apply."""

import time
from dataclasses import replace

from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope, TextMatch, TextMatchKind
from tests.unit.ztunnel.fakes import policies_told, service, workload
from tests.unit.ztunnel.test_decisions import CLIENT, CLIENT_ID, WEB, World
from ztunnel.decisions import decide
from ztunnel.engine.interface import Direct, Direction, Flow, Local
from ztunnel.telemetry.reports import Reports

IN_CLUSTER = 10_000
ROUNDS, DECISIONS = 9, 100
# Measured: 1.0 to 1.1. Anything that looks at each policy would be a thousand.
MAX_RATIO = 3.0

INBOUND = Flow(1, Direction.INBOUND_HBONE, "10.0.1.2", "10.0.1.1:8080", CLIENT_ID)
LOCAL = Flow(1, Direction.OUTBOUND, "", "10.96.0.1:80", "")


def crowd(number: int) -> Authorization:
    """A policy of another namespace, or one that other pods of the same namespace list."""
    match = Match(principals=(TextMatch(TextMatchKind.EXACT, f"cluster.local/ns/n{number}/sa/default"),))
    elsewhere = number % 2 == 0
    namespace, scope = (f"n{number}", PolicyScope.NAMESPACE) if elsewhere else ("shop", PolicyScope.SELECTOR)
    return Authorization(f"p{number}", namespace, scope, PolicyAction.DENY, (((match,),),))


def node(policies: int) -> World:
    """The client's pod lists one policy, its namespace has another; 20 pods back the service, one of them here."""
    own = Match(principals=(TextMatch(TextMatchKind.PREFIX, "cluster.local/ns/shop/"),))
    held = [Authorization(f"own-{scope.name.lower()}", "shop", scope, PolicyAction.ALLOW, (((own,),),)) for scope in list(PolicyScope)[1:]]
    pods = [workload(f"web-{number}", f"10.0.2.{number}", services={WEB: {80: 8080}}) for number in range(1, 20)]
    beside = workload("web-0", "10.0.1.2", node="n1", services={WEB: {80: 8080}})
    world = World(replace(CLIENT, policies=("shop/own-selector",)), beside, service("web", "10.96.0.1"), *pods, known=False)
    world.join("web-0")
    world.around = replace(world.around, report=Reports().number)
    world.policies.apply(policies_told(*held, *map(crowd, range(policies))))
    return world


def cost_us(world: World, flow: Flow) -> float:
    """The best of some rounds: what others do on the machine only adds."""
    rounds = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for _ in range(DECISIONS):
            decide(flow, world.around)
        rounds.append((time.perf_counter() - started_s) / DECISIONS * 1e6)
    return min(rounds)


def test_ten_thousand_policies_of_others_cost_a_decision_nothing() -> None:
    few, many = node(0), node(IN_CLUSTER)
    assert len(many.policies) == IN_CLUSTER + 2
    for flow, kind in ((INBOUND, Direct), (LOCAL, Local)):
        assert any(isinstance(choice, kind) for choice in decide(flow, many.around).decision.choices)
        without_us, with_us = cost_us(few, flow), cost_us(many, flow)
        print(f"{flow.direction.name.lower()}: {with_us:.0f} us with {IN_CLUSTER} policies, {without_us:.0f} us without")
        assert with_us < MAX_RATIO * without_us
