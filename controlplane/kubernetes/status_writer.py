"""Writes the conditions of policies and ServiceEntries into their status: by the leader, one at a time, and only what differs."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from controlplane.kubernetes.cluster_authority import MANAGER
from controlplane.kubernetes.conditions import Written, as_status, read_conditions, wanted_conditions
from controlplane.kubernetes.kinds import Kind
from controlplane.policy_status import Conditions
from mesh.catalogue.changes import ObjectKey
from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer
from runtime.kubernetes import Api, Batch
from runtime.kubernetes.following import Following

_log = structlog.get_logger()
# A new version of ours may say something else of each of ten thousand policies: a quarter of an hour, and an API server does not notice.
EACH_S = 0.1
# Somebody else who writes the same conditions would be answered at once, for ever; and what the server refused once it may take later.
AGAIN_S = 30.0
# Nobody says that this replica leads, or that a time has passed.
LOOK_S = 2.0


# Comparing so many takes some milliseconds; in between others have their turn.
_AT_ONCE = 200
# A condition without the time of its transition.
Said = tuple[str, str, str, str, int]


class StatusWriter:
    """Args:
    conditions: a live view of what should be written, by key.
    leading: says whether this replica may write.
    """

    def __init__(self, api: Api, conditions: Conditions, leading: Callable[[], bool]) -> None:
        self._api = api
        self._conditions = conditions
        self._leading = leading
        self._there: dict[ObjectKey, tuple[int, tuple[Written, ...]]] = {}
        self._resources: dict[str, Following] = {}
        # What was written last, and when that may be written again.
        self._tried: dict[ObjectKey, tuple[tuple[Said, ...], float]] = {}
        self._changed = asyncio.Event()
        # When to look again at all that there is: at once where something changed.
        self._due_s = 0.0
        self._trouble = ""

    def observe(self, kind: Kind, following: Following, batch: Batch) -> None:
        """Takes what the cluster holds of objects of a kind with a status."""
        self._resources[kind.model.__name__] = following
        for change in batch.changes:
            key = ObjectKey(kind.model.__name__, *change.name)
            if change.data is None:
                self._there.pop(key, None)
                self._tried.pop(key, None)
            else:
                self._there[key] = read_conditions(change.data)
        self.announce()

    def announce(self) -> None:
        """Says that conditions may have become others."""
        self._due_s = 0.0
        self._changed.set()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Writes until `stopping` is set."""
        while not stopping.is_set():
            self._changed.clear()
            if not self._leading():
                self._due_s = 0.0
            elif time.monotonic() >= self._due_s:
                self._due_s = time.monotonic() + AGAIN_S
                await self._write_all(stopping)
            stop, change = (asyncio.ensure_future(one.wait()) for one in (stopping, self._changed))
            await asyncio.wait({stop, change}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            change.cancel()

    async def _write_all(self, stopping: asyncio.Event) -> None:
        for position, key in enumerate(list(self._conditions)):
            if position % _AT_ONCE == 0:
                await asyncio.sleep(0)
            wanted = self._wanted(key)
            if wanted is None:
                continue
            if stopping.is_set() or not self._leading() or not await self._write(key, wanted):
                return
            await asyncio.sleep(EACH_S)

    def _wanted(self, key: ObjectKey) -> tuple[Written, ...] | None:
        found, there = self._conditions.get(key), self._there.get(key)
        if found is None or there is None:
            return None
        wanted = wanted_conditions(found, *there, dt.datetime.now(dt.UTC))
        tried, again_s = self._tried.get(key, ((), 0.0))
        return None if wanted is None or (_said(wanted) == tried and time.monotonic() < again_s) else wanted

    async def _write(self, key: ObjectKey, wanted: tuple[Written, ...]) -> bool:
        """Returns whether to go on with the next."""
        self._tried[key] = _said(wanted), time.monotonic() + AGAIN_S
        resource = self._resources[key.kind].resource
        data: Mapping[str, Any] = {"status": as_status(wanted)}
        try:
            await self._api.apply(resource, key.namespace, key.name, data, manager=MANAGER, subresource="status")
        except (ApiError, ApiUnreachable, BrokenAnswer) as error:
            # The object may be gone, or its CRD have no status: others are not held up.
            go_on = isinstance(error, ApiError) and not error.retryable
            if (said := f"{key.kind} {type(error).__name__} {error.status if isinstance(error, ApiError) else ''}") != self._trouble:
                self._trouble = said
                _log.warning("status_not_written", **key._asdict(), error=str(error)[:256])
            return go_on
        self._trouble = ""
        return True


def _said(conditions: Iterable[Written]) -> tuple[Said, ...]:
    return tuple((one.type, one.status, one.reason, one.message, one.generation) for one in conditions)
