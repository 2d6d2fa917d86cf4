"""Plans against golden files. To accept a change: REGOLD=1 pytest tests/unit/daemonset/capture/test_plan.py, and read the diff."""

import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from daemonset.capture.items import Chains, Device, Mode, Own, Phase, Plan, Route, Rule, Survey, Sysctl
from daemonset.capture.plan import END_RULE, SWITCH_RULE, is_switch, nothing, plan_capture
from daemonset.capture.steps import held

GOLDEN = Path(__file__).parents[3] / "golden" / "capture"
SURVEYS = {
    "dual-stack": Survey((Device("eth0", (ip_address("10.244.1.2"), ip_address("fd00:10:244:1::2"), ip_address("fe80::1"))),)),
    "ipv4-only": Survey((Device("eth0", (ip_address("10.244.1.2"),)),)),
    "two-devices": Survey(
        (
            Device("lo", (ip_address("192.0.2.10"),)),
            Device("eth0", (ip_address("10.244.1.2"), ip_address("10.244.1.3"), ip_address("fd00:10:244:1::2"))),
            Device("net1", (ip_address("172.16.0.9"),)),
        )
    ),
}


def render(plan: Plan) -> str:
    lines = []
    for item in plan.items:
        lines.append(str(item))
        if isinstance(item, Chains):
            lines += [f"    {rule}" for rule in item.rules]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("mode", Mode)
def test_plan_is_the_golden_one(mode: Mode, phase: Phase, survey: str) -> None:
    golden = GOLDEN / f"{mode.value}-{phase.value}-{survey}.txt"
    rendered = render(plan_capture(mode, phase, SURVEYS[survey]))
    if os.environ.get("REGOLD"):
        golden.write_text(rendered)
    assert rendered == golden.read_text()


@pytest.mark.parametrize("survey", SURVEYS.values(), ids=SURVEYS)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("mode", Mode)
def test_no_two_items_of_a_plan_share_a_key(mode: Mode, phase: Phase, survey: Survey) -> None:
    plan = plan_capture(mode, phase, survey)
    assert len(held(plan.items)) == len(plan.items)


def test_draining_differs_from_capture_by_the_switches_and_the_inbound_side() -> None:
    capture, drain = (set(plan_capture(Mode.EBPF, phase, SURVEYS["dual-stack"]).items) for phase in Phase)
    assert {str(item) for item in capture - drain} == {
        "IPv4 rule 14: tcp lookup 15001",
        "IPv6 rule 14: tcp lookup 15001",
        "sk_lookup attached, inbound captured",
    }
    assert {str(item) for item in drain - capture} == {"sk_lookup attached, inbound let through"}


def test_whatever_is_let_go_meets_the_ordinary_rules() -> None:
    """A goto to a rule that is not there would do nothing, and ztunnel would capture itself."""
    items = plan_capture(Mode.EBPF, Phase.CAPTURE, SURVEYS["dual-stack"]).items
    rules = [item for item in items if isinstance(item, Rule)]
    for family in (4, 6):
        end = items.index(Rule(family, END_RULE))
        assert all(items.index(rule) > end for rule in rules if rule.goto == END_RULE and rule.family == family)
        assert max(rule.preference for rule in rules) == END_RULE > SWITCH_RULE


def test_switches_come_last() -> None:
    items = plan_capture(Mode.EBPF, Phase.CAPTURE, SURVEYS["dual-stack"]).items
    assert [is_switch(item) for item in items[-2:]] == [True, True]
    assert not any(is_switch(item) for item in items[:-2])


def test_addresses_on_lo_are_the_pods_own_but_carry_no_route() -> None:
    items = plan_capture(Mode.EBPF, Phase.CAPTURE, SURVEYS["two-devices"]).items
    own = next(item for item in items if isinstance(item, Own))
    assert ip_address("192.0.2.10") in own.addresses
    assert {item.device for item in items if isinstance(item, Route)} == {"eth0", "net1"}
    assert "net/ipv4/conf/lo/accept_local" not in {item.path for item in items if isinstance(item, Sysctl)}


def test_nothing_is_planned_for_a_pod_outside() -> None:
    assert nothing().items == ()
