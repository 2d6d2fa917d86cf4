"""From single measurements to the result: medians, ratios, targets met or missed, the table and the JSON."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.rows import Better, Row


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
        """Whether the target is reached; None without a target or a ratio."""
        if self.ratio is None or self.row.target is None:
            return None
        return self.ratio >= self.row.target if self.row.better == "higher" else self.ratio <= self.row.target


def summarise(rows: Iterable[Row], samples: Mapping[tuple[str, str], Sequence[float]]) -> list[Result]:
    """Args: samples: by (row name, mode), a value per repetition."""
    modes = list(dict.fromkeys(mode for _, mode in samples))
    return [Result(row, {mode: _figure(samples[row.name, mode]) for mode in modes}) for row in rows]


def to_json(results: Iterable[Result]) -> list[dict[str, object]]:
    """The rows of latest.json."""
    return [_json_row(result) for result in results]


def table(results: Sequence[Result], modes: Sequence[str]) -> str:
    """An aligned table: medians by mode, ratio ours / envoy, and the target with a mark."""
    header = ["row", "unit", *modes, "ours/envoy", "target", ""]
    lines = [header, *(_cells(result, modes) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _figure(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))


def _json_row(result: Result) -> dict[str, object]:
    figures = {mode: {"median": figure.median, "min": figure.min, "max": figure.max} for mode, figure in result.figures.items()}
    row = result.row
    return {"name": row.name, "unit": row.unit, "better": row.better, "target": row.target, "ratio": result.ratio, **figures}


def _cells(result: Result, modes: Sequence[str]) -> list[str]:
    medians = [_number(result.figures[mode].median) for mode in modes]
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else "-"
    mark = {True: "pass", False: "MISS", None: ""}[result.passed]
    return [result.row.name, result.row.unit, *medians, ratio, _target(result.row.target, result.row.better), mark]


def _target(target: float | None, better: Better) -> str:
    return "-" if target is None else f"{'>=' if better == 'higher' else '<='} {target:g}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Names and units (the first two columns) to the left, figures to the right."""
    cells = enumerate(zip(line, widths, strict=True))
    return [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in cells]
