"""Medians, ratios, marks, the table and the JSON."""

import pytest

from bench.rows import LOADS, SCALE, Row, select, select_scale
from bench.summary import Figure, summarise, table, to_json

FAST = Row("requests-16", "requests/s", "higher", 0.8)
SMALL = Row("memory", "MB", "lower", 1.0)
FREE = Row("p50-16", "ms", "lower")


def samples(row: Row, envoy: list[float], ours: list[float]) -> dict[tuple[str, str], list[float]]:
    return {(row.name, "none"): [1.0], (row.name, "envoy"): envoy, (row.name, "ours"): ours}


def test_median_and_range() -> None:
    [result] = summarise([FAST], samples(FAST, [10, 30, 20], [18, 12, 15]))
    assert result.figures["envoy"] == Figure(20, 10, 30)
    assert result.ratio == 0.75


@pytest.mark.parametrize(
    ("row", "ours", "passed"),
    [(FAST, 79.9, False), (FAST, 80.0, True), (SMALL, 100.0, True), (SMALL, 100.1, False), (FREE, 5.0, None)],
)
def test_passed(row: Row, ours: float, passed: bool | None) -> None:
    [result] = summarise([row], samples(row, [100.0], [ours]))
    assert result.passed is passed


def test_without_ours_there_is_no_ratio() -> None:
    [result] = summarise([FAST], {(FAST.name, "envoy"): [1.0]})
    assert (result.ratio, result.passed) == (None, None)


def test_json() -> None:
    [row] = to_json(summarise([FAST], samples(FAST, [10.0], [9.0])))
    assert row == {
        "name": "requests-16",
        "unit": "requests/s",
        "better": "higher",
        "target": 0.8,
        "ratio": 0.9,
        "none": {"median": 1.0, "min": 1.0, "max": 1.0},
        "envoy": {"median": 10.0, "min": 10.0, "max": 10.0},
        "ours": {"median": 9.0, "min": 9.0, "max": 9.0},
    }


def test_table() -> None:
    results = summarise([FAST, FREE], samples(FAST, [20_000.0], [14_000.0]) | samples(FREE, [0.5], [0.25]))
    assert table(results, ["none", "envoy", "ours"]).splitlines() == [
        "row          unit        none   envoy    ours  ours/envoy  target",
        "requests-16  requests/s     1  20,000  14,000        0.70  >= 0.8  MISS",
        "p50-16       ms             1     0.5    0.25        0.50       -",
    ]


ALONE = Row("scale-ready", "s", "lower", limit=60)


@pytest.mark.parametrize(("ours", "passed"), [(60.0, True), (60.1, False)])
def test_a_limit_is_of_our_figure_itself(ours: float, passed: bool) -> None:
    [result] = summarise([ALONE], {(ALONE.name, "ours"): [ours]})
    assert result.passed is passed


def test_rows_of_ours_alone_line_up_with_the_others() -> None:
    results = summarise([FAST, ALONE], samples(FAST, [20_000.0], [14_000.0]) | {(ALONE.name, "ours"): [17.0]})
    assert table(results, ["none", "envoy", "ours"]).splitlines() == [
        "row          unit        none   envoy    ours  ours/envoy  target",
        "requests-16  requests/s     1  20,000  14,000        0.70  >= 0.8  MISS",
        "scale-ready  s              -       -      17           -   <= 60  pass",
    ]
    assert to_json(results)[1] == {
        "name": "scale-ready",
        "unit": "s",
        "better": "lower",
        "limit": 60,
        "ours": {"median": 17.0, "min": 17.0, "max": 17.0},
    }


def test_every_row_has_its_own_name() -> None:
    names = [*(row.name for load in LOADS for row in load.rows), *(row.name for row in SCALE)]
    assert len(names) == len(set(names)) == 22


def test_selection_takes_the_loads_that_make_the_rows() -> None:
    assert [load.rows[0].name for load in select("p99-*")] == ["requests-1", "requests-16", "requests-64", "requests-256"]
    assert select("memory") == (LOADS[-1],)
    assert select("nothing") == ()


def test_selection_of_the_large_cluster() -> None:
    assert select_scale("scale-*") == SCALE
    assert [row.name for row in select_scale("*-memory")] == ["scale-memory", "scale-ztunnel-memory"]
    assert select("scale-*") == ()
