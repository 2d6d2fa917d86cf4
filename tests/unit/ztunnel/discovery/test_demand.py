"""What is subscribed to: answers, strangers that lapse, a bound."""

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.discovery.demand import STRANGER_LIFETIME_S, Answer, Demand


def test_a_name_is_asked_for_once() -> None:
    demand = Demand()
    assert demand.answer("/10.0.0.1") is None
    assert demand.ask("/10.0.0.1", present=False, now_s=0)
    assert not demand.ask("/10.0.0.1", present=False, now_s=1)
    assert demand.answer("/10.0.0.1") is Answer.AWAITED


def test_what_came_with_something_else_is_there_at_once() -> None:
    demand = Demand()
    assert demand.ask("/10.0.0.1", present=True, now_s=0)
    assert demand.answer("/10.0.0.1") is Answer.PRESENT


def test_an_answer_that_contradicts_what_was_believed() -> None:
    demand = Demand()
    for name in ("in time", "late", "absent"):
        demand.ask(name, present=False, now_s=0)
    assert not demand.told(["in time"], ["absent"], 1)
    demand.overdue("late", 1)
    demand.overdue("in time", 1)
    assert demand.answer("late") is Answer.OVERDUE
    assert demand.answer("in time") is Answer.PRESENT, "an answer is not overdue"
    assert demand.told(["late"], [], 2), "somebody passed in the belief that nobody was there"
    assert demand.told(["absent"], [], 2)
    assert not demand.told(["never asked for"], ["nor this"], 3)


def test_strangers_lapse_and_owners_do_not() -> None:
    demand = Demand()
    for name in ("owner", "stranger", "silent", "own pod"):
        demand.ask(name, present=False, now_s=0)
    demand.pin("own pod")
    demand.told(["owner"], ["stranger", "own pod"], 0)
    demand.overdue("silent", 0)
    assert demand.shed(STRANGER_LIFETIME_S - 1) == ()
    assert set(demand.shed(STRANGER_LIFETIME_S)) == {"stranger", "silent"}
    assert set(demand.names()) == {"owner", "own pod"}


def test_the_longest_unused_go_first() -> None:
    demand = Demand(max_names=3, evicted_at_once=2)
    demand.pin("pinned")
    for name in ("pinned", "a", "b", "c"):
        demand.ask(name, present=True, now_s=0)
    demand.answer("a")
    assert demand.full
    assert demand.shed(1) == ("b", "c")
    assert demand.names() == ("pinned", "a")
    assert not demand.full


@given(st.lists(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("ab")))
def test_the_table_is_bounded_but_for_what_is_pinned(asked: list[str], pinned: set[str]) -> None:
    demand = Demand(max_names=3, evicted_at_once=1)
    for name in pinned:
        demand.pin(name)
    for now_s, name in enumerate(asked):
        demand.ask(name, present=True, now_s=now_s)
        if demand.full:
            demand.shed(now_s)
        assert len(demand) <= 3
    assert pinned & set(asked) <= set(demand.names())
