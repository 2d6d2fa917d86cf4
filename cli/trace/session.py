"""A trace under way: keeps the observation process watching the right pods, and the table of their connections up to date."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cli.trace.pods import RunningPod, watch_of
from ebpf.observe.events import Event
from ebpf.observe.observer import Lost, Observer
from ebpf.observe.sockets import open_connections
from ebpf.observe.table import ConnectionTable, Judged
from ebpf.observe.watched import Watched, attribute
from mesh.errors import ConfigErrors

# How soon a pod that starts is traced, too.
RESCAN_S = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened since the batch before.

    Args:
        now_ns: of CLOCK_MONOTONIC.
        events: each with the number of its connection.
        judged: every connection by its number.
        lost: events that never arrived, since the start.
        watched: the pods.
    """

    now_ns: int
    events: Sequence[tuple[int, Event]]
    judged: dict[int, Judged]
    lost: int
    watched: Watched


@dataclass(slots=True)
class Session:
    """A trace of the pods that `find` names, which is asked again every second.

    Args:
        find: the pods, and the inodes of the namespaces that their packets pass through.
    """

    observer: Observer
    find: Callable[[], tuple[list[RunningPod], frozenset[int]]]
    _table: ConnectionTable = field(default_factory=ConnectionTable)
    _watched: Watched = field(default_factory=lambda: Watched({}, {}))
    _lost: int = 0
    _rescan_at_s: float = 0.0

    def next(self, timeout_s: float) -> Batch:
        """What happened; waits for the first event for some time.

        Raises:
            ObservationUnavailable: the observation process has ended.
            ConfigError: the lab has gone.
        """
        told = self._rescan() if time.monotonic() >= self._rescan_at_s else []
        told += self.observer.read(0 if told else timeout_s)
        events = [numbered for one in told for numbered in self._take(one)]
        now_ns = time.monotonic_ns()
        self._table.forget(now_ns)
        judged = self._table.judged(now_ns)
        # A flood of new connections may have pushed out what an earlier event of the batch was about.
        return Batch(now_ns, [(number, event) for number, event in events if number in judged], judged, self._lost, self._watched)

    def _take(self, told: Event | Lost) -> list[tuple[int, Event]]:
        if isinstance(told, Lost):
            self._lost = told.total
            return []
        taken = ((self._table.apply(event), event) for event in attribute(told, self._watched))
        return [(number, event) for number, event in taken if number is not None]

    def _rescan(self) -> list[Event | Lost]:
        self._rescan_at_s = time.monotonic() + RESCAN_S
        try:
            pods, passed = self.find()
        except ConfigErrors:
            return []  # what is broken now is told by the control plane; the pods that are known go on
        watched = watch_of(pods, passed)
        if watched == self._watched:
            return []
        told = self.observer.watch(watched)
        new = [pod for pod in pods if pod.inode not in self._watched.pods]
        self._watched = watched
        self._table.retain(frozenset(watched.pods))
        for pod in new:
            self._add_open(pod)
        return told

    def _add_open(self, pod: RunningPod) -> None:
        try:
            for connection in open_connections(pod.netns, time.monotonic_ns()):
                self._table.add(connection)
        except OSError:
            pass  # the pod has ended; the next scan no longer finds it
