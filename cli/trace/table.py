"""A trace as a table for people who watch."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cli.trace.words import OUTSIDE, Words, milliseconds
from ebpf.observe.connection import Connection
from ebpf.observe.events import NO_STATE
from ebpf.observe.table import Judged, in_order
from ebpf.observe.verdict import Verdict

_COLUMNS = ("POD", "LOCAL", "REMOTE", "STATE", "RTT ms", "RETRANS", "RESETS", "DROPS", "CAPTURED")
_NUMBERS = frozenset({"RTT ms", "RETRANS"})
_STYLES = {Verdict.CAPTURED: "green", Verdict.AROUND: "bold red", Verdict.UNDECIDED: "dim", Verdict.ZTUNNEL: "dim", Verdict.EXEMPT: "dim"}


def table_of(judged: Sequence[Judged], words: Words, rows: int, lost: int) -> Table:
    """The table of all connections.

    Args:
        rows: at most so many; the rest is counted below.
        lost: events that never arrived.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name != "DROPS")
    shown = in_order(judged)
    for connection, verdict in shown[:rows]:
        table.add_row(*_cells(connection, words), Text(verdict.value, _STYLES[verdict]), style="dim" if connection.closed else "")
    notes = [f"{len(shown) - rows} more connections"] if len(shown) > rows else []
    notes += [f"{lost} events were lost: more happened than could be told"] if lost else []
    table.caption = "; ".join(notes) or None
    return table


def _cells(connection: Connection, words: Words) -> tuple[str, ...]:
    return (
        words.pod(connection.netns),
        str(connection.local),
        str(connection.remote),
        connection.state if connection.state != NO_STATE else "",
        milliseconds(connection.rtt_us),
        str(connection.retransmits or ""),
        _resets(connection),
        _drops(connection, words),
    )


def _resets(connection: Connection) -> str:
    ways = (("sent", connection.resets_sent), ("received", connection.resets_received))
    return ", ".join(f"{way} {resets}" for way, resets in ways if resets)


def _drops(connection: Connection, words: Words) -> str:
    shown = []
    for (reason, elsewhere), packets in connection.drops.items():
        shown.append(f"{words.drop_reason(reason)} {packets}" + (f" {OUTSIDE}" if elsewhere else ""))
    return ", ".join(shown)
