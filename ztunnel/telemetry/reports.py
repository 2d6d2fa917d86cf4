"""Numbers for labels: an action carries an int through the engine, and this is what the int means. Books only, no I/O."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ztunnel.engine.interface import Counters
from ztunnel.telemetry.labels import Labels, Party, metric_values

# A report is about 1 KB with its counters in the engine; a node's live flows are some thousands.
MAX_REPORTS = 16384
# Series of forgotten reports keep their totals, so that a counter never falls; a monitor copes with one that starts anew.
MAX_RETIRED = 4096
# A connection may be on its way under a decision that has been forgotten: accept, connect (10 s) and handshake (10 s), and some.
GRACE_S = 60.0
# Invalidations may come in bursts. Those of a second are one epoch; a report that was named in it only stays a little longer.
EPOCH_S = 1.0
# What counts for connections that came when the table was full of reports in use.
OVERFLOW = 0

# Values of METRIC_LABELS.
Series = tuple[str, ...]


@dataclass(slots=True)
class Totals:
    """What happened: connections by response flags, and bytes as the server sent and received them."""

    opened: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    sent_bytes: int = 0
    received_bytes: int = 0

    def add(self, other: "Totals") -> None:
        for mine, theirs in ((self.opened, other.opened), (self.closed, other.closed)):
            for flags, count in theirs.items():
                mine[flags] = mine.get(flags, 0) + count
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes


@dataclass(slots=True)
class Report:
    """One number's meaning.

    Args:
        epoch: the last one in which a decision named it.
        totals: connections only; bytes are the engine's until the report is forgotten.
        source_text, destination_text: its parts of an access-log line, rendered at the first line; "" until then.
    """

    number: int
    labels: Labels
    series: Series
    epoch: int
    totals: Totals = field(default_factory=Totals)
    source_text: str = ""
    destination_text: str = ""


class Reports:
    """Bounded. The same labels have the same number until it is forgotten; totals of a series never fall."""

    def __init__(self, max_reports: int = MAX_REPORTS, max_retired: int = MAX_RETIRED) -> None:
        self._max_reports = max_reports
        self._max_retired = max_retired
        overflow = Labels("source", Party(), Party())
        self._by_number = {OVERFLOW: Report(OVERFLOW, overflow, metric_values(overflow), 0)}
        self._by_labels: dict[Labels, Report] = {}
        self._retired: OrderedDict[Series, Totals] = OrderedDict()
        self._next = OVERFLOW + 1
        self._epoch = 0
        # (epoch, when it began), the oldest first: those that began within the grace, and the one before.
        self._epochs: deque[tuple[int, float]] = deque([(0, float("-inf"))])

    def __len__(self) -> int:
        return len(self._by_labels)

    def __iter__(self) -> Iterator[Report]:
        return iter(self._by_number.values())

    @property
    def full(self) -> bool:
        """No number is left; forget cached decisions, then collect."""
        return len(self._by_labels) >= self._max_reports

    def number(self, labels: Labels) -> int:
        """Returns the number of these labels, for a decision that is made now."""
        report = self._by_labels.get(labels)
        if report is None:
            if self.full:
                return OVERFLOW
            report = Report(self._next, labels, metric_values(labels), self._epoch)
            self._next += 1
            self._by_labels[labels] = self._by_number[report.number] = report
        report.epoch = self._epoch
        return report.number

    def get(self, number: int) -> Report:
        """Returns a number's report; of a number that is not in use, the overflow's."""
        return self._by_number.get(number) or self._by_number[OVERFLOW]

    def invalidated(self, now_s: float) -> None:
        """All decisions made so far are forgotten: their reports may go once nothing uses them."""
        if now_s - self._epochs[-1][1] >= EPOCH_S:
            self._epoch += 1
            self._epochs.append((self._epoch, now_s))

    def collect(self, counters: Iterable[Counters], now_s: float) -> frozenset[int]:
        """Forgets reports that no decision names and no connection uses; returns their numbers, for the engine to forget too.

        Args:
            counters: the engine's, as of now.
        """
        while len(self._epochs) > 1 and now_s - self._epochs[1][1] >= GRACE_S:
            self._epochs.popleft()
        oldest_in_use = self._epochs[0][0]
        by_number = {counter.report: counter for counter in counters}
        idle = [report for report in self._by_labels.values() if report.epoch < oldest_in_use and not _in_use(by_number.get(report.number))]
        for report in idle:
            self._retire(report, by_number.get(report.number))
        return frozenset(report.number for report in idle)

    def totals(self, counters: Iterable[Counters]) -> dict[Series, Totals]:
        """Returns everything since the start, by series.

        Args:
            counters: the engine's, as of now.
        """
        found: dict[Series, Totals] = {}
        for series, totals in self._retired.items():
            found.setdefault(series, Totals()).add(totals)
        for report in self._by_number.values():
            found.setdefault(report.series, Totals()).add(report.totals)
        for counter in counters:
            found[self.get(counter.report).series].add(_bytes_of(counter))
        return found

    def _retire(self, report: Report, counter: Counters | None) -> None:
        del self._by_number[report.number], self._by_labels[report.labels]
        totals = self._retired.setdefault(report.series, Totals())
        self._retired.move_to_end(report.series)
        totals.add(report.totals)
        if counter is not None:
            totals.add(_bytes_of(counter))
        while len(self._retired) > self._max_retired:
            self._retired.popitem(last=False)


def _in_use(counter: Counters | None) -> bool:
    return counter is not None and counter.opened > counter.closed


def _bytes_of(counter: Counters) -> Totals:
    """The ecosystem counts from the server's side: what it answered is sent, what it was asked is received."""
    return Totals(sent_bytes=counter.received_bytes, received_bytes=counter.sent_bytes)
