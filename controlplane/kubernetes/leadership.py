"""Takes part in the election: reads and writes the Lease."""

import asyncio
import datetime as dt
import random
import time
from typing import Any

import structlog

from controlplane.kubernetes.election import RETRY_S, Election, Record, read_record, write_record
from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer
from runtime.kubernetes import Api
from runtime.kubernetes.resources import LEASES

_log = structlog.get_logger()
NAME = "ambient-controlplane"
# Several replicas should not ask at the same moment. Source: client-go, JitterFactor.
_JITTER = 0.2
# A request that hangs for longer is of no use to a leader.
_WITHIN_S = 5.0


class Leadership:
    """Args:
    identity: of this replica.
    """

    def __init__(self, api: Api, namespace: str, identity: str) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._election = Election(identity)
        self._lease: dict[str, Any] | None = None
        self._trouble = ""
        self._led = False

    def leading(self) -> bool:
        """Whether this replica may act as the leader now; to be asked before each act."""
        return self._election.leading(time.monotonic())

    async def follow(self, stopping: asyncio.Event) -> None:
        """Takes part until `stopping` is set, and then hands the Lease on."""
        while not stopping.is_set():
            await self._try()
            self._note()
            try:
                async with asyncio.timeout(RETRY_S * (1 + _JITTER * random.random())):
                    await stopping.wait()
            except TimeoutError:
                pass
        await self._leave()

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(_WITHIN_S):
                self._lease = await self._api.get(LEASES, self._namespace, NAME)
                asked_s = time.monotonic()
                wish = self._election.wish(read_record(self._lease) if self._lease is not None else None, asked_s, _now())
                if wish is not None:
                    await self._write(wish)
                    self._election.won(wish, asked_s)
            self._trouble = ""
        except (ApiError, ApiUnreachable, BrokenAnswer, TimeoutError) as error:
            # Another was faster.
            if isinstance(error, ApiError) and error.status == 409:
                return
            if (said := type(error).__name__) != self._trouble:
                self._trouble = said
                _log.warning("lease_not_reached", error=str(error)[:256] or said)

    async def _write(self, record: Record) -> None:
        spec = write_record(record)
        if self._lease is None:
            await self._api.create(LEASES, self._namespace, {"metadata": {"name": NAME, "namespace": self._namespace}, "spec": spec})
        else:
            await self._api.replace(LEASES, self._namespace, NAME, {**self._lease, "spec": spec})

    async def _leave(self) -> None:
        record = self._election.leave(_now())
        if record is None:
            return
        try:
            async with asyncio.timeout(_WITHIN_S):
                self._lease = await self._api.get(LEASES, self._namespace, NAME)
                if self._lease is not None and read_record(self._lease).holder == self._identity:
                    await self._write(record)
        except (ApiError, ApiUnreachable, BrokenAnswer, TimeoutError) as error:
            _log.warning("lease_not_handed_on", error=str(error)[:256])
        self._note()

    def _note(self) -> None:
        if (leads := self.leading()) != self._led:
            self._led = leads
            _log.info("leading" if leads else "no_longer_leading", identity=self._identity)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
