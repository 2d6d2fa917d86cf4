"""The stream of a watch, cut anywhere, and what is none."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import BrokenAnswer
from runtime.kubernetes.watch_lines import WatchLines

STREAM = b'{"a": 1}\n\n{"b": "\\n"}\n{"c": {"d": []}}\n'
OBJECTS = [{"a": 1}, {"b": "\n"}, {"c": {"d": []}}]


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_it_may_be_cut_anywhere(cuts: list[int]) -> None:
    lines, found = WatchLines(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(places):
        found += list(lines.feed(STREAM[start:end]))
    lines.end()
    assert found == OBJECTS


@pytest.mark.parametrize("text", [b"x", b"[1]", b"7", b'{"a": 1', b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    lines = WatchLines()
    with pytest.raises(BrokenAnswer):
        list(lines.feed(b'{"a": 1}\n' + text + b"\n"))


def test_what_came_before_counts() -> None:
    found = WatchLines().feed(b'{"a": 1}\nx\n')
    assert next(found) == {"a": 1}
    with pytest.raises(BrokenAnswer, match="'x'"):
        next(found)


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"x" * 6, b"x" * 5 + b"\n"]])
def test_an_enormous_line_is_refused_before_it_is_kept(chunks: list[bytes]) -> None:
    lines = WatchLines(max_line_bytes=10)
    with pytest.raises(BrokenAnswer) as refused:
        for chunk in chunks:
            list(lines.feed(chunk))
    assert refused.value.too_large


def test_an_end_within_a_line() -> None:
    lines = WatchLines()
    list(lines.feed(b'{"a": 1}\n{"b"'))
    with pytest.raises(BrokenAnswer, match="ended within"):
        lines.end()
