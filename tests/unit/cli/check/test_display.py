"""Lines that line up, and documents for programs."""

import io

from rich.console import Console

from cli.check.display import as_documents, print_findings, summary
from cli.check.findings import error, good, warning

FINDINGS = [good("API server", "v1.33.2"), warning("clock", "unknown", "compare"), error("node a", "kernel 4.4", "upgrade")]


def test_each_line_has_its_mark_and_columns_line_up() -> None:
    output = io.StringIO()
    print_findings(FINDINGS, Console(file=output, width=100))
    lines = output.getvalue().splitlines()
    assert [line[0] for line in lines if line[0] != " "] == ["✓", "!", "✗", "1"]
    assert {
        line.index(text) for line, text in zip(lines, ("v1.33.2", "unknown", "→ compare", "kernel 4.4", "→ upgrade"), strict=False)
    } == {15}


def test_summary_counts() -> None:
    assert summary(FINDINGS) == "1 error, 1 warning"
    assert summary(FINDINGS[:1]) == "all is well"


def test_documents_have_everything() -> None:
    assert as_documents(FINDINGS)[2] == {"what": "node a", "level": "error", "found": "kernel 4.4", "advice": "upgrade"}
