"""The access log and the counts of connections: what the engine notices becomes lines and totals.

On the path of every connection: a report's part of a line is rendered once, and the lines of one wake-up leave in one write.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from ztunnel.engine.interface import Cause, Closed, Direction, Notice, Opened, Refused
from ztunnel.telemetry.labels import destination_fields, response_flags, source_fields
from ztunnel.telemetry.lines import LineFormat, render_line
from ztunnel.telemetry.reports import Report, Reports

# Lines of at most about 500 bytes: what is handed to the output at once stays small beside what it may hold.
LINES_AT_ONCE = 256

_DIRECTIONS = {Direction.OUTBOUND: "outbound", Direction.INBOUND_PLAINTEXT: "inbound_plaintext", Direction.INBOUND_HBONE: "inbound_hbone"}


def cause_text(cause: Cause, detail: str) -> str:
    """Returns why a connection failed, in words."""
    words = cause.name.lower().replace("_", " ")
    return f"{words}: {detail}" if detail else words


def timestamp(now_s: float) -> str:
    """RFC 3339 with microseconds."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class AccessLog:
    """Counts every connection; writes lines while `enabled` says so.

    Args:
        write: takes whole lines.
        pod_name: "namespace/name" of a pod's number.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        reports: Reports,
        style: LineFormat,
        write: Callable[[bytes], None],
        pod_name: Callable[[int], str],
        clock: Callable[[], float],
        enabled: Callable[[], bool],
    ) -> None:
        self._reports = reports
        self._style = style
        self._write = write
        self._pod_name = pod_name
        self._clock = clock
        self._enabled = enabled
        self._source_key, self._source_end = style.first("src.addr")
        self._next_hop_key, self._next_hop_end = style.next("dst.addr")
        # Tunnels and connections turned away before they had a report, by listener and cause.
        self.refused: Counter[tuple[str, str]] = Counter()

    def record(self, notices: Iterable[Notice]) -> None:
        """Counts and logs all but misses."""
        time = timestamp(self._clock()) if self._enabled() else ""
        opened, closed, failed = (self._style.head(time, "info", "access", f"connection {how}") for how in ("opened", "closed", "failed"))
        lines: list[str] = []
        for notice in notices:
            if isinstance(notice, Opened):
                report = self._reports.get(notice.report)
                report.totals.opened["-"] = report.totals.opened.get("-", 0) + 1
                if time:
                    lines.append(self._begin(opened, report, notice.source, notice.next_hop) + self._style.end)
            elif isinstance(notice, Closed):
                report = self._reports.get(notice.report)
                _count_end(report, notice)
                if time:
                    head = closed if notice.opened else failed
                    lines.append(self._begin(head, report, notice.source, notice.next_hop) + self._end(notice) + self._style.end)
            elif isinstance(notice, Refused):
                self._refuse(notice, time, lines)
            if len(lines) >= LINES_AT_ONCE:
                self._leave(lines)
        self._leave(lines)

    def _leave(self, lines: list[str]) -> None:
        if lines:
            self._write("".join(lines).encode())
            lines.clear()

    def _begin(self, head: str, report: Report, source: str, next_hop: str) -> str:
        if not report.destination_text:
            report.source_text = self._style.fields(source_fields(report.labels))
            report.destination_text = self._style.fields(destination_fields(report.labels))
        return (
            f"{head}{self._source_key}{source}{self._source_end}{report.source_text}"
            f"{self._next_hop_key}{next_hop}{self._next_hop_end}{report.destination_text}"
        )

    def _end(self, notice: Closed) -> str:
        error = None if notice.cause is Cause.NONE else cause_text(notice.cause, notice.detail)
        # Sent and received as the ecosystem has them: by the server.
        numbers = ("bytes_sent", notice.received_bytes), ("bytes_recv", notice.sent_bytes), ("duration", f"{notice.duration_ms}ms")
        return self._style.fields((*numbers, ("error", error)))

    def _refuse(self, notice: Refused, time: str, lines: list[str]) -> None:
        listener = _DIRECTIONS[notice.direction]
        self.refused[listener, notice.cause.name.lower()] += 1
        if time:
            fields = (
                ("src.addr", notice.source),
                ("dst.pod", self._pod_name(notice.pod)),
                ("listener", listener),
                ("error", cause_text(notice.cause, notice.detail)),
            )
            lines.append(render_line(self._style, time, "info", "access", "connection refused", fields))


def _count_end(report: Report, notice: Closed) -> None:
    """One that never opened counts as opened and closed with its flags, so that the difference is what is open."""
    flags = response_flags(notice.cause)
    totals = report.totals
    if not notice.opened:
        totals.opened[flags] = totals.opened.get(flags, 0) + 1
    totals.closed[flags] = totals.closed.get(flags, 0) + 1
