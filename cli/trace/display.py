"""Where a trace goes: a live table on a terminal, or lines of text or JSON on any output."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.live import Live

from cli.trace.lines import describe, event_fields, json_of, line_of
from cli.trace.session import Batch
from cli.trace.table import table_of
from cli.trace.words import Words
from ebpf.observe.events import Kind
from ebpf.observe.table import Judged
from ebpf.observe.verdict import Verdict

# The head of the table, its caption, and the line that the terminal keeps for its prompt.
_FRAME_ROWS = 4
# Drawing costs more than reading: under a flood of events the reader must not fall behind for more frames than people can see.
_FRAME_NS = 100_000_000


class Display(AbstractContextManager["Display"], Protocol):
    """Shows one batch after another."""

    def show(self, batch: Batch, words: Words) -> None: ...


class TableDisplay:
    """A table that is drawn anew; what it showed last stays when the trace ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._drawn_ns = 0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, batch: Batch, words: Words) -> None:
        if batch.now_ns - self._drawn_ns < _FRAME_NS:
            return  # the next batch, be it an empty one, shows this one too
        self._drawn_ns = batch.now_ns
        rows = max(1, self._console.height - _FRAME_ROWS)
        self._live.update(table_of(list(batch.judged.values()), words, rows, batch.lost), refresh=True)


@dataclass(slots=True)
class LineDisplay:
    """A line for each connection that was open before, for each event, and for a verdict that is reached after the last event.

    Args:
        as_json: JSON objects, with every round-trip time, instead of text, where other lines show the latest.
    """

    as_json: bool
    _verdicts: dict[int, Verdict] = field(default_factory=dict)
    _lost: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def show(self, batch: Batch, words: Words) -> None:
        told = set()
        for number, event in batch.events:
            if self.as_json or event.kind is not Kind.RTT:
                self._say(event.time_ns, number, describe(event, words), event_fields(event, words), batch.judged[number], words)
                told.add(number)
        for number, (connection, verdict) in batch.judged.items():
            if number in told:
                continue
            if number not in self._verdicts:
                self._say(connection.opened_ns, number, "open", {"event": "open"}, (connection, verdict), words)
            elif verdict is not self._verdicts[number]:
                self._say(batch.now_ns, number, "decided", {"event": "decided"}, (connection, verdict), words)
        self._verdicts = {number: verdict for number, (_, verdict) in batch.judged.items()}
        self._say_lost(batch.lost)

    def _say(self, time_ns: int, number: int, what: str, fields: dict[str, object], judged: Judged, words: Words) -> None:
        click.echo(json_of(time_ns, number, fields, judged, words) if self.as_json else line_of(time_ns, what, judged, words))

    def _say_lost(self, lost: int) -> None:
        if lost != self._lost:
            self._lost = lost
            click.echo(f"ambient trace: {lost} events were lost: more happened than could be told", err=True)
