"""The API of Kubernetes as a source of changes: every kind is listed before anything is published, and then watched."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import structlog

from controlplane.collector import collector_paused
from controlplane.kubernetes.kinds import KINDS, Kind
from controlplane.kubernetes.status_writer import StatusWriter
from controlplane.publisher import Publisher
from mesh.catalogue.changes import ObjectChange
from runtime.kubernetes import Api, Batch, Following, Reflector
from runtime.kubernetes.objects import ObjectReader

_log = structlog.get_logger()
# Changes of one cause come in several watches: what arrives within so long is published together.
GATHER_S = 0.02
# The first lists of 100,000 pods take a quarter of a minute. What is not told by then may never be, for want of a permission.
FIRST_WITHIN_S = 60.0
# Answers that wait to be taken over. More stay with the server: a watch that is not read is slowed down by TCP.
MAX_WAITING = 16


class ClusterSource:
    """Follows a cluster."""

    def __init__(self, api: Api, publisher: Publisher, status: StatusWriter, kinds: Sequence[Kind] = KINDS) -> None:
        self._publisher = publisher
        self._status = status
        self._waiting: asyncio.Queue[tuple[list[ObjectChange], Kind | None]] = asyncio.Queue(MAX_WAITING)
        # Kinds whose first list was not taken over to its end; nothing is published before.
        self._unlisted = set(kinds)
        self._followings = [kind.following() for kind in kinds]
        self._reflectors = [self._reflector(api, kind, one) for kind, one in zip(kinds, self._followings, strict=True)]

    async def follow(self, stopping: asyncio.Event) -> None:
        """Publishes what the cluster holds, and every change, until `stopping` is set. Whatever the server answers, it goes on."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.follow()) for one in self._reflectors]
            tasks.append(group.create_task(self._take_over()))
            await stopping.wait()
            for task in tasks:
                task.cancel()

    @property
    def missing(self) -> str:
        """Says which kinds were not listed yet, and why; "" when all were."""
        return "; ".join(f"{one.resource.full_name}: {one.trouble or 'being listed'}"[:256] for one in self._followings if not one.settled)

    def report(self) -> list[dict[str, object]]:
        """Returns what GET /kinds answers: how it stands with each kind."""
        return [
            {
                "resource": one.resource.full_name,
                "version": one.resource.version,
                "objects": len(one.known),
                "listed": one.settled,
                "trouble": str(one.trouble or ""),
            }
            for one in self._followings
        ]

    def _reflector(self, api: Api, kind: Kind, following: Following) -> Reflector:
        reader = ObjectReader(kind.model)

        async def take(batch: Batch) -> None:
            if kind.has_status:
                self._status.observe(kind, following, batch)
            await self._waiting.put(([reader.read(change) for change in batch.changes], kind if batch.listed else None))

        return Reflector(api, following, take)

    async def _take_over(self) -> None:
        with collector_paused():
            await self._take_first()
        while True:
            await self._take(await self._waiting.get())

    async def _take_first(self) -> None:
        """Takes over the first lists, as far as they come within FIRST_WITHIN_S."""
        end_s = time.monotonic() + FIRST_WITHIN_S
        while self._unlisted:
            try:
                async with asyncio.timeout(end_s - time.monotonic()):
                    first = await self._waiting.get()
            except TimeoutError:
                return
            await self._take(first)

    async def _take(self, first: tuple[list[ObjectChange], Kind | None]) -> None:
        if published := not self._unlisted:
            await asyncio.sleep(GATHER_S)
        changes: list[ObjectChange] = []
        for more, listed in (first, *self._at_hand()):
            changes += more
            if listed is not None:
                self._unlisted.discard(listed)
        await self._publisher.take(changes)
        if self._unlisted:
            return
        self._publisher.announce()
        self._status.announce()
        if not published:
            _log.info("cluster_read", **{one.resource.plural: len(one.known) for one in self._followings})

    def _at_hand(self) -> Iterator[tuple[list[ObjectChange], Kind | None]]:
        while not self._waiting.empty():
            yield self._waiting.get_nowait()
