"""From the changes of a source to what the nodes are told, and to a log line of it."""

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog

from controlplane.feed import Feed
from controlplane.policy_status import StatusLog
from mesh.catalogue.changes import ObjectChange
from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication, ServiceEntry

_log = structlog.get_logger()
# What must be there before the workloads that it holds for, and longer.
_POLICIES = frozenset((AuthorizationPolicy.__name__, PeerAuthentication.__name__))
# The kinds of which the catalogue keeps conditions.
_WITH_STATUS = _POLICIES | {ServiceEntry.__name__}
# So many changes take some 50 ms; in between others have their turn: certificates, streams, the probe.
_AT_ONCE = 500
# One change may touch every workload of the cluster: as many of them as take the same time.
_SETTLED_AT_ONCE = 500


class Publisher:
    """Takes changes over in steps, and publishes them when all of them are there."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._status = StatusLog(feed.catalogue.conditions)
        self._status_changed = False
        self._published = feed.catalogue.generation

    async def publish(self, changes: list[ObjectChange]) -> None:
        await self.take(changes)
        self.announce()

    async def take(self, changes: list[ObjectChange]) -> None:
        """Takes changes over, and wakes nobody: before the first `announce` nothing of it is seen."""
        self._status_changed |= any(change.key.kind in _WITH_STATUS for change in changes)
        remaining = deque(in_order(changes))
        # Objects are freed as they are taken over: they are larger than what becomes of them.
        changes.clear()
        while remaining:
            batch = [remaining.popleft() for _ in range(min(_AT_ONCE, len(remaining)))]
            for _ in self._feed.apply_in_steps(batch, _SETTLED_AT_ONCE):
                await asyncio.sleep(0)

    def announce(self) -> None:
        """Tells the followers, where there is something new, or anything for the first time."""
        if self._status_changed:
            self._status_changed = False
            self._status.report()
        catalogue = self._feed.catalogue
        if not self._feed.known or catalogue.generation != self._published:
            self._published = catalogue.generation
            self._feed.publish()
            counts = {"workloads": len(catalogue.workloads), "services": len(catalogue.services), "policies": len(catalogue.policies)}
            _log.info("published", generation=catalogue.generation, **counts)


def in_order(changes: Iterable[ObjectChange]) -> list[ObjectChange]:
    """New policies first and policies that go last, so that no step has a workload without the policies that hold for it."""
    return sorted(changes, key=_rank)


def _rank(change: ObjectChange) -> int:
    if change.key.kind not in _POLICIES:
        return 1
    return 0 if change.value is not None else 2
