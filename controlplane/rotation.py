"""The rotation of the self-made root, stage by stage, so that no certificate meets a bundle without its root. No I/O.

STEADY      one root is trusted and signs
INTRODUCED  the next one is trusted too; the old one still signs, until every node has the new bundle
RETIRING    the new one signs; the old one is trusted until the last certificate under it has ended
"""

import datetime as dt
import enum
from dataclasses import dataclass, replace

# What is left of a root's life must be enough to rotate it at leisure, and to notice when that does not happen.
ROTATE_AT = 0.8


class Stage(enum.Enum):
    STEADY = "steady"
    INTRODUCED = "introduced"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where a rotation stands. Roots are known by their generation: 1, 2, 3...

    Args:
        number: of this state; every change adds one, so that of several replicas one alone makes it.
        signing: generation of the root that signs.
        trusted: generations of the roots in the bundle, oldest first.
        since: when the stage began.
        longest: no certificate of these roots lives longer. It never shrinks, for what was signed is not forgotten.
    """

    number: int
    signing: int
    trusted: tuple[int, ...]
    since: dt.datetime
    longest: dt.timedelta

    @property
    def stage(self) -> Stage:
        if len(self.trusted) == 1:
            return Stage.STEADY
        return Stage.INTRODUCED if self.signing == self.trusted[0] else Stage.RETIRING


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take.

    Args:
        spread: until every node holds a changed bundle, and every replica acts on a changed state; differences of clocks included.
        longest: lifetime of what is signed, at most.
    """

    spread: dt.timedelta
    longest: dt.timedelta


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step depends on beside the state.

    Args:
        begins, ends: the life of the root that signs.
        requested: somebody asks for a rotation now; it counts in STEADY alone.
        published: when the bundle that is in force was put where the nodes find it; it may be long ago.
    """

    begins: dt.datetime
    ends: dt.datetime
    requested: bool
    published: dt.datetime


def begin(pace: Pace, now: dt.datetime) -> Rotation:
    return Rotation(1, 1, (1,), now, pace.longest)


def advance(state: Rotation, pace: Pace, seen: Seen, now: dt.datetime) -> Rotation | None:
    """Returns the state that follows, None while there is nothing to do; to be asked again after each step."""
    if pace.longest > state.longest:
        return replace(state, number=state.number + 1, longest=pace.longest)
    changed = _next_stage(state, pace, seen, now)
    return None if changed is None else replace(changed, number=state.number + 1, since=now)


def _next_stage(state: Rotation, pace: Pace, seen: Seen, now: dt.datetime) -> Rotation | None:
    match state.stage:
        case Stage.STEADY if seen.requested or now >= seen.begins + (seen.ends - seen.begins) * ROTATE_AT:
            return replace(state, trusted=(state.signing, state.signing + 1))
        case Stage.INTRODUCED if now >= max(state.since, seen.published) + pace.spread:
            return replace(state, signing=state.trusted[-1])
        # The last certificate under the old root was signed by a replica that acted on the change last.
        case Stage.RETIRING if now >= state.since + pace.spread + state.longest:
            return replace(state, trusted=(state.signing,))
    return None
