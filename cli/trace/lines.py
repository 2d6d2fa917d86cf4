"""A trace as lines: text for people who read later, JSON for programs."""

import json
from collections.abc import Mapping

from cli.trace.words import OUTSIDE, Words, milliseconds
from ebpf.observe.connection import Connection
from ebpf.observe.events import Event, Kind
from ebpf.observe.table import Judged
from ebpf.observe.verdict import Verdict

# Two IPv4 addresses with their ports. IPv6 would push everything off the screen.
_PATH_WIDTH = 2 * len("255.255.255.255:65535") + len(" > ")
_VERDICT_WIDTH = max(len(verdict.value) for verdict in Verdict)


def line_of(time_ns: int, what: str, judged: Judged, words: Words) -> str:
    """One line for people. Columns line up as far as addresses are not too long; what happened comes last, because it may be."""
    connection, verdict = judged
    time = words.time(time_ns).astimezone().strftime("%H:%M:%S.%f")
    width = max(map(len, words.pods.values()), default=0)
    path, rtt = f"{connection.local} > {connection.remote}", milliseconds(connection.rtt_us) or "-"
    return f"{time} {words.pod(connection.netns):{width}} {path:{_PATH_WIDTH}} rtt={rtt:9} captured={verdict.value:{_VERDICT_WIDTH}} {what}"


def describe(event: Event, words: Words) -> str:
    """What happened, in the words of lines."""
    if event.kind is Kind.STATE:
        return f"{event.old_state} > {event.new_state}"
    return " ".join(filter(None, (event.kind.value, words.reason(event), OUTSIDE if event.elsewhere else "")))


def json_of(time_ns: int, number: int, what: Mapping[str, object], judged: Judged, words: Words) -> str:
    """One JSON object: what happened, and the connection after it.

    Args:
        number: of the connection, the same in all its lines: a socket begins to connect before the kernel gives it a local port.
    """
    connection, verdict = judged
    return json.dumps(
        {
            "time": words.time(time_ns).isoformat(),
            "pod": words.pod(connection.netns),
            "connection": number,
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
        {"reason": words.drop_reason(reason), "packets": packets, "outside_pod": elsewhere}
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
