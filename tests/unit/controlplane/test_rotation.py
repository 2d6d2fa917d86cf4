"""The rotation of the root: its stages in order, and that no certificate ever meets a bundle without its root."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rotation import Pace, Rotation, Seen, Stage, advance, begin

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PACE = Pace(spread=dt.timedelta(minutes=10), longest=dt.timedelta(hours=24))
LIFE = (START, START + dt.timedelta(days=1000))
QUIET, ASKED = Seen(*LIFE, requested=False, published=START), Seen(*LIFE, requested=True, published=START)


def at(hours: float) -> dt.datetime:
    return START + dt.timedelta(hours=hours)


def test_a_rotation_on_request_goes_through_its_stages() -> None:
    steady = begin(PACE, START)
    assert (steady.stage, steady.trusted, advance(steady, PACE, QUIET, at(1))) == (Stage.STEADY, (1,), None)
    introduced = advance(steady, PACE, ASKED, at(1))
    assert introduced == Rotation(2, 1, (1, 2), at(1), PACE.longest)
    assert introduced.stage is Stage.INTRODUCED
    assert advance(introduced, PACE, ASKED, at(1.15)) is None
    retiring = advance(introduced, PACE, QUIET, at(1.17))
    assert retiring == Rotation(3, 2, (1, 2), at(1.17), PACE.longest)
    assert retiring.stage is Stage.RETIRING
    assert advance(retiring, PACE, ASKED, at(25.2)) is None, "the last certificate under the old root may still live"
    over = advance(retiring, PACE, QUIET, at(25.4))
    assert over == Rotation(4, 2, (2,), at(25.4), PACE.longest)
    assert over.stage is Stage.STEADY


@pytest.mark.parametrize(("day", "begins"), [(799, False), (800, True), (999, True)])
def test_it_begins_by_itself_while_there_is_time(day: int, begins: bool) -> None:
    assert (advance(begin(PACE, START), PACE, QUIET, at(24 * day)) is not None) == begins


def test_the_new_root_signs_only_when_the_bundle_has_been_out_for_long_enough() -> None:
    introduced = advance(begin(PACE, START), PACE, ASKED, at(0))
    assert introduced is not None
    late = replace(QUIET, published=at(5))
    assert advance(introduced, PACE, late, at(5.1)) is None
    assert advance(introduced, PACE, late, at(5.2)) is not None


def test_longer_lifetimes_are_noted_and_never_forgotten() -> None:
    short = begin(replace(PACE, longest=dt.timedelta(seconds=20)), START)
    noted = advance(short, PACE, ASKED, START)
    assert noted == replace(short, number=2, longest=PACE.longest), "before anything else happens"
    assert advance(noted, replace(PACE, longest=dt.timedelta(seconds=20)), QUIET, at(1)) is None


@given(
    spread=st.integers(1, 60),
    longest=st.integers(1, 120),
    polls=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=60),
    data=st.data(),
)
def test_whatever_is_signed_is_trusted_by_every_bundle_until_it_ends(
    spread: int, longest: int, polls: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """Nodes and replicas act on a state at any time less than `spread` after it came; polls come when they come."""
    pace = Pace(dt.timedelta(seconds=spread), dt.timedelta(seconds=longest))
    history = [begin(pace, START)]
    now_s = 0
    for wait_s, requested in polls:
        now_s += wait_s
        seen = replace(QUIET, requested=requested)
        state = advance(history[-1], pace, seen, START + dt.timedelta(seconds=now_s))
        if state is not None:
            history.append(state)

    def in_force(moment_s: int) -> set[Rotation]:
        """Every state that somebody may go by at that moment."""
        begins = [(state.since - START).total_seconds() for state in history]
        ends = [*begins[1:], float("inf")]
        return {state for state, begun, ended in zip(history, begins, ends, strict=True) if begun <= moment_s and ended > moment_s - spread}

    signed_s = data.draw(st.integers(0, now_s + 10))
    issuers = {state.signing for state in in_force(signed_s)}
    for presented_s in range(signed_s, signed_s + longest):
        for state in in_force(presented_s):
            assert issuers <= set(state.trusted), (signed_s, presented_s, state)
