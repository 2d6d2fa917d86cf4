"""How a trace is shown: a table for people who watch, lines for those who read later, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from ebpf.observe.connection import Connection
from ebpf.observe.events import Event, Kind
from ebpf.observe.table import Judged, in_order
from ebpf.observe.verdict import Verdict

_COLUMNS = (("POD", "left"), ("LOCAL", "left"), ("REMOTE", "left"), ("STATE", "left"), ("RTT ms", "right"), ("RETRANS", "right"))
_MORE_COLUMNS = (("RESETS", "left"), ("DROPS", "left"), ("CAPTURED", "left"))
_STYLES = {Verdict.CAPTURED: "green", Verdict.AROUND: "bold red", Verdict.UNDECIDED: "dim", Verdict.ZTUNNEL: "dim", Verdict.EXEMPT: "dim"}


@dataclass(frozen=True, slots=True)
class Words:
    """What numbers are called.

    Args:
        pods: by inode of the network namespace.
        drop_reasons, reset_reasons: the kernel's names.
        wall_clock_ns: what to add to CLOCK_MONOTONIC for the time of day.
    """

    pods: Mapping[int, str]
    drop_reasons: Mapping[int, str]
    reset_reasons: Mapping[int, str]
    wall_clock_ns: int

    def pod(self, netns: int) -> str:
        return self.pods.get(netns, f"netns {netns}")

    def time(self, time_ns: int) -> datetime:
        return datetime.fromtimestamp((time_ns + self.wall_clock_ns) / 1e9, UTC)

    def reason(self, event: Event) -> str:
        """Why a packet was dropped or a reset was sent; "" where the kernel does not say."""
        if event.kind is Kind.DROP:
            return self.drop_reasons.get(event.reason, str(event.reason))
        return self.reset_reasons.get(event.reason, "") if event.kind is Kind.RESET_SENT else ""

    def drops(self, connection: Connection) -> str:
        """Every reason with its count."""
        shown = []
        for (reason, elsewhere), packets in connection.drops.items():
            name = self.drop_reasons.get(reason, str(reason))
            shown.append(f"{name} {packets}{' outside the pod' if elsewhere else ''}")
        return ", ".join(shown)


def resets(connection: Connection) -> str:
    """How many resets went which way."""
    ways = (("sent", connection.resets_sent), ("received", connection.resets_received))
    return ", ".join(f"{way} {resets}" for way, resets in ways if resets)


def milliseconds(rtt_us: int) -> str:
    """A round-trip time; "" where none has been measured."""
    return f"{rtt_us / 1000:.3f}" if rtt_us else ""


def table_of(judged: Sequence[Judged], words: Words, rows: int, lost: int) -> Table:
    """The table of all connections.

    Args:
        rows: at most so many; the rest is counted below.
        lost: events that never arrived.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in _COLUMNS + _MORE_COLUMNS:
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=name != "DROPS")
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
        connection.state,
        milliseconds(connection.rtt_us),
        str(connection.retransmits or ""),
        resets(connection),
        words.drops(connection),
    )


def line_of(time_ns: int, what: str, judged: Judged, words: Words) -> str:
    """One line for people; the columns before the last line up with those of other lines, as far as names are not too long."""
    connection, verdict = judged
    time = words.time(time_ns).astimezone().strftime("%H:%M:%S.%f")
    width = max(map(len, words.pods.values()), default=0)
    path = f"{connection.local} > {connection.remote}"
    rtt = f"rtt={milliseconds(connection.rtt_us) or '-'}"
    return f"{time} {words.pod(connection.netns):{width}} {path:45} {what:32} {rtt:12} captured={verdict.value}"


def describe(event: Event, words: Words) -> str:
    """What happened, in the words of lines."""
    if event.kind is Kind.STATE:
        return f"{event.old_state} > {event.new_state}"
    place = " outside the pod" if event.elsewhere else ""
    return " ".join(filter(None, (event.kind.value, words.reason(event)))) + place


def json_of(time_ns: int, what: Mapping[str, object], judged: Judged, words: Words) -> str:
    """One JSON object: what happened, and the connection after it."""
    connection, verdict = judged
    return json.dumps(
        {
            "time": words.time(time_ns).isoformat(),
            "pod": words.pod(connection.netns),
            "local": str(connection.local),
            "remote": str(connection.remote),
            **what,
            "state": connection.state,
            "rtt_us": connection.rtt_us or None,
            "retransmits": connection.retransmits,
            "resets_sent": connection.resets_sent,
            "resets_received": connection.resets_received,
            "drops": _drop_counts(connection, words),
            "captured": verdict.name.lower(),
        }
    )


def _drop_counts(connection: Connection, words: Words) -> list[dict[str, object]]:
    return [
        {"reason": words.drop_reasons.get(reason, str(reason)), "packets": packets, "outside_pod": elsewhere}
        for (reason, elsewhere), packets in connection.drops.items()
    ]


def event_fields(event: Event, words: Words) -> dict[str, object]:
    """What json_of tells of an event."""
    fields: dict[str, object] = {"event": event.kind.value}
    if event.kind is Kind.STATE:
        fields |= {"old_state": event.old_state, "new_state": event.new_state}
    if event.kind in {Kind.DROP, Kind.RESET_SENT}:
        fields["reason"] = words.reason(event) or None
    if event.kind is Kind.DROP:
        fields["outside_pod"] = event.elsewhere
    return fields
