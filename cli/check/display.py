"""Findings for people and for programs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.check.findings import Finding, Level

_MARKS: Mapping[Level, tuple[str, str]] = MappingProxyType(
    {Level.GOOD: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.ERROR: ("✗", "red")}
)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Prints a line for each finding, and beneath it what to do."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=max(20, console.width // 3))
    table.add_column(overflow="fold")
    for one in findings:
        mark, colour = _MARKS[one.level]
        table.add_row(Text(mark, style=colour), Text(one.what), Text(one.found))
        if one.advice:
            table.add_row("", "", Text(f"→ {one.advice}", style="bold"))
    console.print(table)
    console.print(Text(summary(findings)))


def summary(findings: Sequence[Finding]) -> str:
    errors, warnings = (sum(one.level is level for one in findings) for level in (Level.ERROR, Level.WARNING))
    counts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in ((errors, "error"), (warnings, "warning")) if count]
    return ", ".join(counts) or "all is well"


def as_documents(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [{"what": one.what, "level": one.level.value, "found": one.found, "advice": one.advice} for one in findings]
