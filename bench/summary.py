"""From single measurements to the result: medians, ratios, targets met or missed, the table and the JSON."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.rows import Row


@dataclass(frozen=True, slots=True)
class Figure:
    """One row in one mode, over all repetitions."""

    median: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Result:
    """One row in all modes that were measured."""

    row: Row
    figures: Mapping[str, Figure]

    @property
    def ratio(self) -> float | None:
        """Ratio ours / envoy, of the medians; None when one of them was not measured."""
        if "ours" not in self.figures or "envoy" not in self.figures:
            return None
        return self.figures["ours"].median / self.figures["envoy"].median

    @property
    def passed(self) -> bool | None:
        """Whether the target or the limit is reached; None where there is none, or nothing to hold against it."""
        value, bound = self.ratio, self.row.target
        if self.row.limit is not None:
            value, bound = self.figures["ours"].median if "ours" in self.figures else None, self.row.limit
        if value is None or bound is None:
            return None
        return value >= bound if self.row.better == "higher" else value <= bound


def summarise(rows: Iterable[Row], samples: Mapping[tuple[str, str], Sequence[float]]) -> list[Result]:
    """Args: samples: by (row name, mode), a value per repetition."""
    modes = list(dict.fromkeys(mode for _, mode in samples))
    return [Result(row, {mode: _figure(samples[row.name, mode]) for mode in modes if (row.name, mode) in samples}) for row in rows]


def to_json(results: Iterable[Result]) -> list[dict[str, object]]:
    """The rows of latest.json."""
    return [_json_row(result) for result in results]


def table(results: Sequence[Result], modes: Sequence[str]) -> str:
    """An aligned table: medians by mode, ratio ours / envoy, and the target (of the ratio, or of ours alone) with a mark."""
    header = ["row", "unit", *modes, "ours/envoy", "target", ""]
    lines = [header, *(_cells(result, modes) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _figure(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))


def _json_row(result: Result) -> dict[str, object]:
    figures = {mode: {"median": figure.median, "min": figure.min, "max": figure.max} for mode, figure in result.figures.items()}
    row = result.row
    head: dict[str, object] = {"name": row.name, "unit": row.unit, "better": row.better}
    bound = {"limit": row.limit} if row.limit is not None else {"target": row.target, "ratio": result.ratio}
    return {**head, **bound, **figures}


def _cells(result: Result, modes: Sequence[str]) -> list[str]:
    medians = [_number(result.figures[mode].median) if mode in result.figures else "-" for mode in modes]
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else "-"
    mark = {True: "pass", False: "MISS", None: ""}[result.passed]
    return [result.row.name, result.row.unit, *medians, ratio, _bound(result.row), mark]


def _bound(row: Row) -> str:
    bound = row.target if row.limit is None else row.limit
    return "-" if bound is None else f"{'>=' if row.better == 'higher' else '<='} {_number(bound)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Names and units (the first two columns) to the left, figures to the right."""
    cells = enumerate(zip(line, widths, strict=True))
    return [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in cells]
