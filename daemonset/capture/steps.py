"""From what the kernel holds to what a plan asks for: the steps, in order. Pure.

New connections are held for the moment of a switch in eBPF mode, so that every socket can be told: it was there before (and goes on
as it began), or it comes after. Held packets are sent again by TCP. In iptables mode conntrack keeps the two apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from daemonset.capture.items import Item, Plan, Programs, Steering
from daemonset.capture.plan import EXEMPT_MARK, is_switch
from ebpf.layout import LOOP_MARK, SynSent


@dataclass(frozen=True, slots=True)
class Add:
    """Put the item there, in the place of one with the same key."""

    item: Item

    def __str__(self) -> str:
        return f"add {self.item}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the item away."""

    item: Item

    def __str__(self) -> str:
        return f"remove {self.item}"


@dataclass(frozen=True, slots=True)
class Mark:
    """Give all sockets of the namespace (listeners aside) with one mark another."""

    from_mark: int
    to_mark: int
    syn_sent: SynSent = SynSent.ALL


@dataclass(frozen=True, slots=True)
class Adopt:
    """Put ztunnel's listeners into the pod's listener map."""


@dataclass(frozen=True, slots=True)
class AwaitHandshakes:
    """Wait, bounded, until no half-open connection from before is left: they cannot be marked until they are whole."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold new outgoing connections (on) or let them go (off)."""

    on: bool


Step = Add | Remove | Mark | Adopt | AwaitHandshakes | Hold
Held = Mapping[tuple[str, ...], Item]

_BEFORE_ON: tuple[Step, ...] = (AwaitHandshakes(), Mark(0, EXEMPT_MARK), Hold(True))
_AFTER_ON: tuple[Step, ...] = (Mark(0, EXEMPT_MARK, SynSent.NOT_LOOPED), Hold(False))
_BEFORE_OFF: tuple[Step, ...] = (Hold(True), Mark(0, LOOP_MARK, SynSent.NONE))
_AFTER_OFF: tuple[Step, ...] = (Hold(False),)
# Sockets that live on after capture is undone are as if nothing had been.
_LEAVE: tuple[Step, ...] = (Mark(EXEMPT_MARK, 0), Mark(LOOP_MARK, 0))


def held(items: Iterable[Item]) -> Held:
    """What the kernel holds, by key."""
    return {item.key: item for item in items}


def plan_steps(before: Held, plan: Plan) -> tuple[Step, ...]:
    """The steps from what is held to the plan; none when all is as planned.

    The switch goes off first and on last; what the plan does not name goes in the reverse order of Item, last of all.
    """
    wanted = held(plan.items)
    missing = [item for item in plan.items if before.get(item.key) != item]
    surplus = [item for key, item in before.items() if key not in wanted]
    switched_off = [item for item in surplus if is_switch(item)]
    steps: list[Step] = []
    if switched_off:
        steps += [*_BEFORE_OFF, *map(Remove, switched_off), *_AFTER_OFF]
    steps += _add([item for item in missing if not is_switch(item)])
    steps += _switch_on([item for item in missing if is_switch(item)], before)
    rest = [item for item in surplus if not is_switch(item)]
    leaving = any(isinstance(item, Programs) for item in rest)
    steps += [*(_LEAVE if leaving else ()), *map(Remove, sorted(rest, key=_rank, reverse=True))]
    return tuple(steps)


def _add(items: list[Item]) -> list[Step]:
    steps: list[Step] = []
    for item in items:
        steps.append(Add(item))
        if isinstance(item, Programs):
            steps.append(Adopt())
    return steps


def _switch_on(switches: list[Item], before: Held) -> list[Step]:
    """Marks sockets only where capture begins: once it is on, unmarked sockets are captured ones, and a lost rule is just put back."""
    if not switches:
        return []
    if any(is_switch(item) for item in before.values()) or Steering(inbound=True) in before.values():
        return [Add(item) for item in switches]
    return [*_BEFORE_ON, *map(Add, switches), *_AFTER_ON]


_ORDER = ("programs", "own", "sysctl", "filter", "route", "rule", "steering", "chains")


def _rank(item: Item) -> tuple[int, tuple[str, ...]]:
    return _ORDER.index(item.key[0]), item.key
