"""List and watch as a state machine: transcripts of what is asked, what is answered, and what is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer
from runtime.kubernetes.following import Batch, Change, Following, Name, Selection
from runtime.kubernetes.resources import AUTHORIZATION_POLICIES, NAMESPACES, PODS
from tests.kubernetes_answers import bookmark, event, listing, refusal, thing

EXPIRED = ApiError(410, "Expired", "too old resource version")


def told(batch: Batch) -> list[str]:
    return [shown(change) for change in batch.changes]


def shown(change: Change | None) -> str:
    return "" if change is None else ("-" if change.data is None else "") + change.name.name


def pods(**selection: Any) -> Following:
    return Following((PODS,), Selection(**selection))


def query(following: Following, random: float = 0.0) -> dict[str, str]:
    return dict(following.step(random).query)


def test_a_list_in_pages_then_a_watch() -> None:
    following = pods(fields="spec.nodeName=n1")
    assert query(following) == {"fieldSelector": "spec.nodeName=n1", "limit": "250"}
    first = following.take_page(listing([thing("a", 3)], 9, more="next"))
    assert (told(first), first.listed, following.settled) == (["a"], False, False)
    assert query(following) == {"fieldSelector": "spec.nodeName=n1", "limit": "250", "continue": "next"}
    second = following.take_page(listing([thing("b", 4)], 9))
    assert (told(second), second.listed, following.settled) == (["b"], True, True)
    assert "managedFields" not in (second.changes[0].data or {})["metadata"]
    step = following.step(0.5)
    assert (step.watch, step.wait_s) == (True, 0)
    watch = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "9", "timeoutSeconds": "450"}
    assert step.query == {"fieldSelector": "spec.nodeName=n1", **watch}


def test_events_move_the_version() -> None:
    following = pods()
    following.take_page(listing([thing("a", 3)], 9))
    assert shown(following.take_event(event("ADDED", thing("b", 10)))) == "b"
    assert shown(following.take_event(event("MODIFIED", thing("b", 11)))) == "b"
    assert shown(following.take_event(event("MODIFIED", thing("b", 11)))) == ""
    assert shown(following.take_event(event("DELETED", thing("a", 12)))) == "-a"
    assert shown(following.take_event(event("DELETED", thing("a", 13)))) == ""
    assert following.take_event(bookmark(40)) is None
    assert query(following)["resourceVersion"] == "40"
    assert following.known == {Name("shop", "b"): "11"}


def test_a_version_that_is_gone_makes_a_list_that_tells_only_what_differs() -> None:
    following = pods()
    following.take_page(listing([thing("a", 1), thing("b", 2), thing("c", 3)], 9))
    with pytest.raises(ApiError) as gone:
        following.take_event(event("ERROR", refusal(410, "Expired")))
    following.failed(gone.value)
    step = following.step(0.0)
    assert (step.watch, step.query, step.wait_s) == (False, {"limit": "250"}, 0.25)
    assert told(following.take_page(listing([thing("a", 1)], 20, more="x"))) == []
    assert told(following.take_page(listing([thing("c", 15), thing("d", 16)], 20))) == ["c", "d", "-b"]
    assert query(following)["resourceVersion"] == "20"


def test_a_list_that_breaks_off_begins_again_and_forgets_nothing() -> None:
    following = pods()
    following.take_page(listing([thing("a", 1), thing("b", 1)], 9))
    following.failed(EXPIRED)
    following.take_page(listing([thing("c", 12)], 20, more="x"))
    following.failed(EXPIRED)
    assert query(following) == {"limit": "250"}
    assert told(following.take_page(listing([thing("a", 1)], 30))) == ["-b", "-c"]


def test_a_watch_that_breaks_goes_on_where_it_was() -> None:
    following = pods()
    following.take_page(listing([], 9))
    waits = []
    for _ in range(9):
        following.failed(ApiUnreachable("connection refused"))
        step = following.step(0.0)
        waits.append(step.wait_s)
        assert step.query["resourceVersion"] == "9"
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]
    assert isinstance(following.trouble, ApiUnreachable)
    following.take_event(bookmark(10))
    assert (following.step(0.0).wait_s, following.trouble) == (0, None)


def test_a_watch_that_is_accepted_is_no_trouble_but_no_success_yet() -> None:
    following = pods()
    following.take_page(listing([], 9))
    following.failed(ApiUnreachable("connection refused"))
    following.failed(ApiUnreachable("connection refused"))
    following.accepted()
    assert following.trouble is None
    following.failed(ApiUnreachable("connection reset"))
    assert following.step(0.0).wait_s == 1


def test_watches_that_end_at_once_are_not_asked_for_in_a_loop() -> None:
    following = pods()
    following.take_page(listing([], 9))
    following.ended(300)
    assert following.step(0.0).wait_s == 0
    following.ended(0.1)
    following.ended(0.1)
    assert following.step(0.0).wait_s == 0.5


def test_from_the_cache_first_and_from_the_store_when_that_does_not_serve() -> None:
    following = pods(from_cache=True)
    assert query(following) == {"resourceVersion": "0"}
    following.take_page(listing([], 9))
    following.failed(EXPIRED)
    # Another server's cache may be older than what is known: that is no answer.
    assert query(following) == {"resourceVersion": "9"}
    following.failed(EXPIRED)
    assert query(following) == {"limit": "250"}


def test_a_server_that_went_back_in_time_is_listed_anew() -> None:
    following = pods()
    following.take_page(listing([thing("a", 1)], 900))
    with pytest.raises(ApiError) as unknown:
        following.take_event(event("ERROR", refusal(504, "Timeout", causes=["ResourceVersionTooLarge"])))
    following.failed(unknown.value)
    assert not following.step(0.0).watch
    assert told(following.take_page(listing([], 20))) == ["-a"]


def test_no_permission_is_asked_for_again_ever_more_slowly_and_nothing_is_forgotten() -> None:
    following, forbidden = pods(), ApiError(403, "Forbidden", "no")
    waits = []
    for _ in range(8):
        following.failed(forbidden)
        waits.append(following.step(0.0).wait_s)
    assert (following.settled, waits) == (False, [0.25, 0.5, 1, 2, 4, 8, 15, 15])
    following.take_page(listing([thing("a", 1)], 9))
    # A server that starts knows nobody for a moment; the watch goes on where it was.
    following.failed(forbidden)
    assert (following.step(0.0).wait_s, query(following)["resourceVersion"]) == (0.25, "9")
    assert following.known


MISSING = ApiError(404, "NotFound", "the server could not find the requested resource")


def test_a_kind_that_is_not_there_is_tried_in_every_version_and_once_more() -> None:
    following = Following(AUTHORIZATION_POLICIES, optional=True)
    steps, troubles = [], []
    for _ in range(6):
        following.failed(MISSING)
        step = following.step(0.0)
        troubles.append(following.trouble)
        steps.append((step.resource.version, step.wait_s, following.settled))
    assert steps == [
        ("v1beta1", 0, False),
        ("v1", 1.5, False),
        ("v1beta1", 0, False),
        ("v1", 15, True),
        ("v1beta1", 0, True),
        ("v1", 15, True),
    ]
    # It is missing until it is found, whichever version is asked for.
    assert troubles == [None, *[MISSING] * 5]
    assert told(following.take_page(listing([thing("a", 1)], 5, kind="AuthorizationPolicyList"))) == ["a"]
    # The kind goes: what was known stays until a list says otherwise.
    following.failed(MISSING)
    following.failed(MISSING)
    assert following.known
    assert told(following.take_page(listing([], 8, kind="AuthorizationPolicyList"))) == ["-a"]


def test_a_kind_that_was_only_late_is_not_missing() -> None:
    following = Following(AUTHORIZATION_POLICIES[:1], optional=True)
    following.failed(MISSING)
    following.failed(ApiUnreachable("connection refused"))
    assert (following.settled, following.step(0.0).wait_s) == (False, 0.5)
    assert following.take_page(listing([], 5, kind="AuthorizationPolicyList")).listed


def test_a_required_kind_that_is_not_there_is_never_complete() -> None:
    following = pods()
    following.failed(ApiError(404, "NotFound", "no"))
    assert not following.settled


def test_metadata_alone() -> None:
    following = Following((NAMESPACES,), Selection(metadata_only=True))
    kind = "PartialObjectMetadata"
    assert told(following.take_page(listing([thing("a", 1, "", kind)], 5, kind=kind + "List"))) == ["a"]
    assert shown(following.take_event(event("ADDED", thing("b", 6, "", kind)))) == "b"
    with pytest.raises(BrokenAnswer):
        following.take_event(event("ADDED", thing("b", 6, "", "Namespace")))


NO_LISTS: list[dict[str, Any]] = [
    {},
    listing([], 9, kind="ServiceList"),
    listing([], ""),
    {**listing([], 9), "items": 7},
    {**listing([], 9), "metadata": None},
    listing([thing("a", 1), {"metadata": {"name": "b"}}], 9),
    listing([thing("a", 1), thing("", 2)], 9),
    {**listing([], 9), "items": [7]},
]


@pytest.mark.parametrize("page", NO_LISTS)
def test_what_is_no_list_changes_nothing(page: dict[str, Any]) -> None:
    following = pods()
    with pytest.raises(BrokenAnswer):
        following.take_page(page)
    assert (following.known, following.settled) == ({}, False)


NO_EVENTS: list[dict[str, Any]] = [
    {},
    {"type": "ADDED"},
    event("SURPRISE", thing("a", 10)),
    {"type": [], "object": thing("a", 10)},
    event("ADDED", thing("a", 10, kind="Service")),
    event("ADDED", {"kind": "Pod", "metadata": {"name": "a"}}),
    event("DELETED", {"kind": "Pod", "metadata": {"resourceVersion": "10"}}),
    event("BOOKMARK", {"kind": "Pod", "metadata": {}}),
]


@pytest.mark.parametrize("wrong", NO_EVENTS)
def test_what_is_no_event_changes_nothing_and_three_of_them_make_a_list(wrong: dict[str, Any]) -> None:
    following = pods()
    following.take_page(listing([thing("a", 1)], 9))
    for _ in range(3):
        assert query(following)["resourceVersion"] == "9"
        with pytest.raises(BrokenAnswer) as broken:
            following.take_event(wrong)
        following.failed(broken.value)
    assert (following.known, query(following)) == ({Name("shop", "a"): "1"}, {"limit": "250"})


def test_answers_that_are_too_large_are_asked_for_in_smaller_pages() -> None:
    following = pods(from_cache=True)
    sizes = []
    for _ in range(5):
        following.failed(BrokenAnswer("large", too_large=True))
        sizes.append(query(following)["limit"])
    assert sizes == ["50", "10", "2", "1", "1"]


@pytest.mark.parametrize("status", [{}, {"code": "410", "reason": 7, "message": None, "details": {"causes": [7]}}, {"details": 7}])
def test_an_error_that_says_nothing_is_an_error(status: dict[str, Any]) -> None:
    following = pods()
    following.take_page(listing([], 9))
    with pytest.raises(ApiError):
        following.take_event(event("ERROR", status))


WORLD = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), max_size=4)


@given(st.lists(WORLD, min_size=1, max_size=6), st.integers(1, 3))
def test_whatever_was_listed_is_what_is_told(worlds: list[dict[str, int]], page: int) -> None:
    """Lists of any worlds, page by page and maybe broken off, end where the last one does, and tell nothing twice."""
    following, view, version = pods(), dict[str, str](), 10
    for number, world in enumerate(worlds):
        version += 10
        items = [thing(name, generation) for name, generation in world.items()]
        parts = [items[start : start + page] for start in range(0, len(items), page)] or [[]]
        following.failed(EXPIRED)
        complete = number % 2 == 0 or number == len(worlds) - 1
        for position, part in enumerate(parts if complete else parts[:-1]):
            batch = following.take_page(listing(part, version, more="" if position == len(parts) - 1 else "x"))
            for change in batch.changes:
                if change.data is None:
                    del view[change.name.name]
                else:
                    after = change.data["metadata"]["resourceVersion"]
                    assert view.get(change.name.name) != after
                    view[change.name.name] = after
    assert view == {name: str(generation) for name, generation in worlds[-1].items()}
