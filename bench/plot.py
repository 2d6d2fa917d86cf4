"""The result as a picture: for each row what ours and Envoy reach, as bars, and the target as a line."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bench.summary import Result

COLOURS = {"none": "#b0b0b0", "envoy": "#d08040", "ours": "#3070b0"}
COLUMNS = 4


def write(results: Sequence[Result], path: Path) -> None:
    """A PNG with one small chart for each row: the medians by mode, the range as a whisker, the target dashed."""
    mpl.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(results) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(3 * COLUMNS, 2.4 * rows), squeeze=False)
    charts = [chart for line in grid for chart in line]
    for chart, result in zip(charts, results, strict=False):
        _draw(chart, result)
    for chart in charts[len(results) :]:
        chart.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw(chart: "mpl.axes.Axes", result: Result) -> None:
    modes = list(result.figures)
    medians = [result.figures[mode].median for mode in modes]
    whiskers = [
        [median - result.figures[mode].min for mode, median in zip(modes, medians, strict=True)],
        [result.figures[mode].max - median for mode, median in zip(modes, medians, strict=True)],
    ]
    chart.bar(modes, medians, yerr=whiskers, color=[COLOURS[mode] for mode in modes], capsize=3)
    row = result.row
    bound = row.limit
    if row.target is not None and "envoy" in result.figures:
        bound = row.target * result.figures["envoy"].median
    if bound is not None:
        chart.axhline(bound, linestyle="--", color="black", linewidth=0.8)
    chart.set_title(f"{row.name} ({row.unit}), {row.better} is better", fontsize=8)
    chart.tick_params(labelsize=7)
