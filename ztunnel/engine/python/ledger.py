"""What an engine tells: notices in order, and totals per report."""

from collections.abc import Callable, Iterable

from ztunnel.engine.interface import Cause, Closed, Counters, Direction, Flow, LiveFlow, Miss, Notice, Opened, Refused

# Notices that nobody takes: older connections' news is dropped beyond this, so that a stuck reader cannot exhaust memory.
MAX_NOTICES = 100_000


class Relayed:
    """One captured connection, from being accepted to its end: who, where to, and how much it has carried.

    `live` is what it came by and was given; None until it was decided to be carried.
    """

    __slots__ = (
        "__weakref__",
        "connection",
        "live",
        "next_hop",
        "opened",
        "over",
        "peer",
        "received_bytes",
        "reports",
        "sent_bytes",
        "source",
        "started_s",
    )

    def __init__(self, source: str, peer: str, started_s: float) -> None:
        self.connection = 0
        self.source = source
        self.peer = peer
        self.next_hop = ""
        self.live: LiveFlow | None = None
        self.reports: tuple[int, ...] = ()
        self.started_s = started_s
        self.opened = False
        self.over = False
        self.sent_bytes = 0
        self.received_bytes = 0


class Totals:
    """The counters of one report; bytes of connections that are over."""

    __slots__ = ("closed", "failed", "opened", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.opened = self.closed = self.failed = self.sent_bytes = self.received_bytes = 0


class Ledger:
    """Keeps notices until they are taken, and counters for ever (or until their report is forgotten)."""

    def __init__(self, wake: Callable[[], None], now: Callable[[], float]) -> None:
        self._wake = wake
        self._now = now
        self._notices: list[Notice] = []
        self._totals: dict[int, Totals] = {}
        self._next_connection = 1

    def _tell(self, notice: Notice) -> None:
        notices = self._notices
        if not notices:
            self._wake()
        if len(notices) < MAX_NOTICES:
            notices.append(notice)

    def missed(self, flow: Flow) -> None:
        self._tell(Miss(flow))

    def refused(self, pod: int, direction: Direction, source: str, cause: Cause, detail: str) -> None:
        self._tell(Refused(pod, direction, source, cause, detail))

    def opened(self, relayed: Relayed) -> None:
        relayed.opened = True
        relayed.connection = self._number()
        for report in relayed.reports:
            self._of(report).opened += 1
            self._tell(Opened(relayed.connection, report, relayed.source, relayed.next_hop, relayed.peer))

    def closed(self, relayed: Relayed, cause: Cause, detail: str) -> None:
        """Counts a connection out; once for each, however often it is called."""
        if relayed.over:
            return
        relayed.over = True
        opened = relayed.opened
        connection = relayed.connection or self._number()
        duration_ms = int((self._now() - relayed.started_s) * 1000)
        for report in relayed.reports:
            totals = self._of(report)
            if opened:
                totals.closed += 1
            else:
                totals.failed += 1
            totals.sent_bytes += relayed.sent_bytes
            totals.received_bytes += relayed.received_bytes
            self._tell(
                Closed(
                    connection,
                    report,
                    relayed.source,
                    relayed.next_hop,
                    relayed.peer,
                    opened,
                    relayed.sent_bytes,
                    relayed.received_bytes,
                    duration_ms,
                    cause,
                    detail,
                )
            )

    def take_notices(self) -> list[Notice]:
        notices, self._notices = self._notices, []
        return notices

    def counters(self, live: Iterable[Relayed]) -> list[Counters]:
        """Totals per report; `live` are the connections whose bytes are not in the totals yet."""
        sent: dict[int, int] = {}
        received: dict[int, int] = {}
        for relayed in live:
            for report in relayed.reports:
                sent[report] = sent.get(report, 0) + relayed.sent_bytes
                received[report] = received.get(report, 0) + relayed.received_bytes
        return [
            Counters(
                report,
                totals.opened,
                totals.closed,
                totals.failed,
                totals.sent_bytes + sent.get(report, 0),
                totals.received_bytes + received.get(report, 0),
            )
            for report, totals in self._totals.items()
        ]

    def forget(self, reports: frozenset[int]) -> None:
        for report in reports:
            self._totals.pop(report, None)

    def _of(self, report: int) -> Totals:
        totals = self._totals.get(report)
        if totals is None:
            totals = self._totals[report] = Totals()
        return totals

    def _number(self) -> int:
        number = self._next_connection
        self._next_connection += 1
        return number
