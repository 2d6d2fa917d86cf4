"""The access log and the counts of connections: what the engine notices becomes lines and totals.

On the path of every connection: a report's part of a line is rendered once, and the lines of one wake-up leave in one write.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache

from ztunnel.engine.interface import Cause, Closed, Direction, Notice, Opened, Refused
from ztunnel.telemetry.labels import destination_fields, response_flags, source_fields
from ztunnel.telemetry.lines import LineFormat, render_line
from ztunnel.telemetry.reports import Report, Reports

# Lines of at most about 500 bytes: what is handed to the output at once stays small beside what it may hold.
LINES_AT_ONCE = 256

# Stands for the time in a head that is rendered once.
_TIME = "\0"
_DIRECTIONS = {Direction.OUTBOUND: "outbound", Direction.INBOUND_PLAINTEXT: "inbound_plaintext", Direction.INBOUND_HBONE: "inbound_hbone"}


def cause_text(cause: Cause, detail: str) -> str:
    """Returns why a connection failed, in words."""
    words = cause.name.lower().replace("_", " ")
    return f"{words}: {detail}" if detail else words


def timestamp(now_s: float) -> str:
    """RFC 3339 with microseconds."""
    seconds, microseconds = divmod(round(now_s * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """The larger part of a time stamp, which thousands of lines share."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


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
        self._line_end = style.end
        source_key, self._source_end = style.first("src.addr")
        # What stands before and after the time, up to the client's address.
        self._opened, self._closed, self._failed = (
            (before, after + source_key)
            for how in ("opened", "closed", "failed")
            for before, _, after in (style.head(_TIME, "info", "access", f"connection {how}").partition(_TIME),)
        )
        self._next_hop_key, self._next_hop_end = style.next("dst.addr")
        # Tunnels and connections turned away before they had a report, by listener and cause.
        self.refused: Counter[tuple[str, str]] = Counter()

    def record(self, notices: Iterable[Notice]) -> None:
        """Counts and logs all but misses."""
        time = timestamp(self._clock()) if self._enabled() else ""
        lines: list[str] = []
        for notice in notices:
            if isinstance(notice, Opened):
                report = self._reports.get(notice.report)
                report.totals.opened["-"] = report.totals.opened.get("-", 0) + 1
                if time:
                    lines.append(self._begin(time, self._opened, report, notice) + self._line_end)
            elif isinstance(notice, Closed):
                report = self._reports.get(notice.report)
                _count_end(report, notice)
                if time:
                    head = self._closed if notice.opened else self._failed
                    lines.append(self._begin(time, head, report, notice) + self._end(notice) + self._line_end)
            elif isinstance(notice, Refused):
                self._refuse(notice, time, lines)
            if len(lines) >= LINES_AT_ONCE:
                self._leave(lines)
        self._leave(lines)

    def _leave(self, lines: list[str]) -> None:
        if lines:
            self._write("".join(lines).encode())
            lines.clear()

    def _begin(self, time: str, head: tuple[str, str], report: Report, notice: Opened | Closed) -> str:
        if not report.destination_text:
            report.source_text = self._style.fields(source_fields(report.labels))
            report.destination_text = self._style.fields(destination_fields(report.labels))
        # What was refused went nowhere.
        next_hop = f"{self._next_hop_key}{notice.next_hop}{self._next_hop_end}" if notice.next_hop else ""
        return f"{head[0]}{time}{head[1]}{notice.source}{self._source_end}{report.source_text}{next_hop}{report.destination_text}"

    def _end(self, notice: Closed) -> str:
        # Sent and received as the ecosystem has them: by the server.
        numbers = self._style.numbers(notice.received_bytes, notice.sent_bytes, notice.duration_ms)
        if notice.cause is Cause.NONE:
            return numbers
        return numbers + self._style.fields((("error", cause_text(notice.cause, notice.detail)),))

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
