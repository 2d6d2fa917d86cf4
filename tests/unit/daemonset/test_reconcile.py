"""What is done next, as a table."""

import pytest

from daemonset.reconcile import Action, Held, Stage, reconcile

A, B = (4, 1), (4, 2)


@pytest.mark.parametrize(
    ("wanted", "netns", "held", "action"),
    [
        (True, A, None, Action.ENROL),
        (True, None, None, None),  # no namespace yet
        (False, A, None, None),
        (True, A, Held(A, Stage.CAPTURED), None),
        (True, A, Held(A, Stage.ENTERING), Action.ENROL),
        (True, A, Held(A, Stage.ENTERING, retry=False), None),
        (True, A, Held(A, Stage.LEAVING), Action.ENROL),
        (False, A, Held(A, Stage.CAPTURED), Action.RELEASE),
        (False, A, Held(A, Stage.ENTERING), Action.RELEASE),
        (False, A, Held(A, Stage.LEAVING), Action.RELEASE),
        (False, A, Held(A, Stage.LEAVING, retry=False), None),
        (True, None, Held(A, Stage.CAPTURED), Action.FORGET),
        (False, None, Held(A, Stage.CAPTURED), Action.FORGET),
        (True, B, Held(A, Stage.CAPTURED), Action.FORGET),
        (True, None, Held(A, Stage.ENTERING, retry=False), Action.FORGET),
        (False, A, Held(A, Stage.CAPTURED, busy=True), None),
        (True, None, Held(A, Stage.CAPTURED, busy=True), None),
    ],
)
def test_next_action(wanted, netns, held, action) -> None:
    actions = reconcile(frozenset({"pod"} if wanted else ()), {"pod": netns} if netns else {}, {"pod": held} if held else {})
    assert actions == ({"pod": action} if action else {})


def test_pods_do_not_depend_on_each_other() -> None:
    held = {"leaving": Held(A, Stage.CAPTURED), "busy": Held(B, Stage.ENTERING, busy=True)}
    netns = {"leaving": A, "busy": B, "new": (4, 3)}
    assert reconcile(frozenset({"busy", "new"}), netns, held) == {"new": Action.ENROL, "leaving": Action.RELEASE}
