"""From held items to a plan, as transcripts of steps."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from daemonset.capture.items import Device, Item, LoopFilter, Mode, Phase, Programs, Route, Rule, Steering, Survey
from daemonset.capture.plan import EXEMPT_MARK, LOOP_TABLE, SWITCH_RULE, is_switch, nothing, plan_capture
from daemonset.capture.steps import Add, Adopt, AwaitHandshakes, Hold, Mark, Remove, Step, held, plan_steps
from ebpf.layout import LOOP_MARK, SynSent

SURVEY = Survey((Device("eth0", (ip_address("10.244.1.2"), ip_address("fd00::2"))),))
CAPTURE = plan_capture(Mode.EBPF, Phase.CAPTURE, SURVEY)
DRAIN = plan_capture(Mode.EBPF, Phase.DRAIN, SURVEY)
IPTABLES = plan_capture(Mode.IPTABLES, Phase.CAPTURE, SURVEY)
PLANS = [CAPTURE, DRAIN, IPTABLES, plan_capture(Mode.IPTABLES, Phase.DRAIN, SURVEY), nothing()]
SWITCHES = [item for item in CAPTURE.items if is_switch(item)]
ITEMS = sorted({item for plan in PLANS for item in plan.items} | {Programs(stale=True), LoopFilter(stale=True)}, key=str)


def perform(before: set[Item], steps: tuple[Step, ...]) -> set[Item]:
    """What the kernel holds after the steps."""
    after = dict(held(before))
    for step in steps:
        if isinstance(step, Add):
            after[step.item.key] = step.item
        elif isinstance(step, Remove):
            assert after.pop(step.item.key) == step.item
    return set(after.values())


def test_switching_on_marks_what_is_there_and_holds_what_comes() -> None:
    steps = plan_steps({}, CAPTURE)
    assert steps[:2] == (Add(Programs()), Adopt())
    assert steps[-7:] == (
        AwaitHandshakes(),
        Mark(0, EXEMPT_MARK, SynSent.ALL),
        Hold(True),
        Add(SWITCHES[0]),
        Add(SWITCHES[1]),
        Mark(0, EXEMPT_MARK, SynSent.NOT_LOOPED),
        Hold(False),
    )
    assert steps.index(Add(Steering(inbound=True))) == len(steps) - 8


def test_switching_off_marks_what_is_carried_before_anything_goes() -> None:
    assert plan_steps(held(CAPTURE.items), DRAIN) == (
        Hold(True),
        Mark(0, LOOP_MARK, SynSent.NONE),
        Remove(SWITCHES[0]),
        Remove(SWITCHES[1]),
        Hold(False),
        Add(Steering(inbound=False)),
    )


def test_leaving_takes_marks_off_and_goes_backwards() -> None:
    steps = plan_steps(held(DRAIN.items), nothing())
    assert steps[:3] == (Mark(EXEMPT_MARK, 0), Mark(LOOP_MARK, 0), Remove(Steering(inbound=False)))
    assert steps[-1] == Remove(Programs())


def test_back_from_draining_marks_what_began_meanwhile() -> None:
    steps = plan_steps(held(DRAIN.items), CAPTURE)
    assert steps[0] == Add(Steering(inbound=True))
    assert Mark(0, EXEMPT_MARK, SynSent.ALL) in steps


def test_a_lost_switch_is_put_back_without_marking() -> None:
    """Unmarked sockets are captured ones by now: marking them exempt would tear them."""
    before = held(item for item in CAPTURE.items if not is_switch(item))
    assert plan_steps(before, CAPTURE) == (Add(SWITCHES[0]), Add(SWITCHES[1]))


def test_a_changed_item_is_replaced_and_not_removed_first() -> None:
    route = next(item for item in CAPTURE.items if isinstance(item, Route) and item.family == 4)
    changed = Route(4, LOOP_TABLE, route.device, ip_address("10.244.1.9"), route.metric)
    before = {**held(CAPTURE.items), route.key: changed}
    assert plan_steps(before, CAPTURE) == (Add(route),)


def test_iptables_switches_in_one_transaction_each() -> None:
    assert all(isinstance(step, Add) for step in plan_steps({}, IPTABLES))


@given(st.sets(st.sampled_from(ITEMS)), st.sampled_from(PLANS))
def test_steps_lead_to_the_plan_from_anywhere(before: set[Item], plan) -> None:
    before = set(held(before).values())
    after = perform(before, plan_steps(held(before), plan))
    assert after == set(plan.items)
    assert plan_steps(held(after), plan) == ()


@given(st.sets(st.sampled_from(ITEMS)), st.sampled_from(PLANS))
def test_what_is_held_is_let_go_again(before: set[Item], plan) -> None:
    steps = plan_steps(held(before), plan)
    holds = [step.on for step in steps if isinstance(step, Hold)]
    assert holds == [True, False] * (len(holds) // 2)


def test_a_foreign_rule_in_our_range_goes() -> None:
    foreign = Rule(4, SWITCH_RULE + 1, mark=7, table=254)
    steps = plan_steps({**held(CAPTURE.items), foreign.key: foreign}, CAPTURE)
    assert [step for step in steps if isinstance(step, Add)] == [Add(Rule(4, SWITCH_RULE + 1))]
