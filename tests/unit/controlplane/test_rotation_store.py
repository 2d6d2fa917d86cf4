"""The state of a rotation on disk: one replica makes each state, and whatever else is in the file is refused."""

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rotation import Pace, begin
from controlplane.rotation_store import decode, encode, newest, put
from mesh.errors import ConfigError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIRST = begin(Pace(dt.timedelta(minutes=1), dt.timedelta(days=1)), NOW)


def test_there_is_none_and_then_the_newest(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    second = replace(FIRST, number=2, trusted=(1, 2))
    third = replace(FIRST, number=10, trusted=(1, 2), signing=2)
    for state in (FIRST, second, third):
        assert put(tmp_path, state)
        assert newest(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == ["rotation-10.json"]


def test_of_several_replicas_one_alone_makes_a_state(tmp_path: Path) -> None:
    states = [replace(FIRST, since=NOW + dt.timedelta(seconds=second)) for second in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda state: put(tmp_path, state), states))
    assert made.count(True) == 1
    assert newest(tmp_path) == states[made.index(True)]


def test_who_comes_late_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, replace(FIRST, number=5))
    put(tmp_path, replace(FIRST, number=3, trusted=(1, 2)))
    assert newest(tmp_path) == replace(FIRST, number=5)


fields = {"signing": 1, "trusted": [1], "since": NOW.isoformat(), "longest_s": 60}


@pytest.mark.parametrize(
    "wrong",
    [
        {"signing": 0, "trusted": [0]},
        {"signing": True, "trusted": [True]},
        {"signing": 3},
        {"trusted": []},
        {"trusted": [1, 2, 3]},
        {"trusted": [2, 1]},
        {"trusted": 1},
        {"since": "2026-01-01T00:00:00"},
        {"since": "yesterday"},
        {"since": 7},
        {"longest_s": -1},
        {"longest_s": 10**30},
        {"longest_s": "60"},
    ],
)
def test_what_is_no_state(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"f\.json"):
        decode(1, json.dumps({**fields, **wrong}).encode(), "f.json")


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_any_bytes(content: bytes) -> None:
    with pytest.raises(ConfigError):
        decode(1, content, "f.json")


def test_a_state_cut_anywhere_is_refused() -> None:
    whole = encode(FIRST)
    assert decode(1, whole, "") == FIRST
    for end in range(len(whole) - 1):
        with pytest.raises(ConfigError):
            decode(1, whole[:end], "")
