"""Holds a certificate for every identity of the node's pods, as long as a pod of it is there."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from mesh.identity import Identity
from ztunnel.backoff import Backoff
from ztunnel.certificates.request import Certificate, printable_time
from ztunnel.certificates.schedule import alarm_due, renewal_delay_s
from ztunnel.control_plane import CALL_ERRORS, describe
from ztunnel.engine.interface import Credentials

RETRY = Backoff(first_s=0.25, limit_s=30.0)
# A node's pods may be a hundred at start; the CA and this loop sign and check a few at a time.
AT_ONCE = 4

Fetch = Callable[[Identity], Awaitable[Certificate]]

log = structlog.get_logger(scope="certificates")


class CredentialSink(Protocol):
    """The part of the engine that this needs."""

    def set_credentials(self, identity: str, credentials: Credentials) -> None: ...

    def forget_credentials(self, identity: str) -> None: ...


class CertificateKeeper:
    """One task an identity; the old certificate is kept while the CA is away."""

    def __init__(
        self,
        fetch: Fetch,
        sink: CredentialSink,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fetch = fetch
        self._sink = sink
        self._clock = clock
        self._sleep = sleep
        self._tasks: dict[Identity, asyncio.Task[None]] = {}
        # By SPIFFE URI.
        self._held: dict[str, Certificate] = {}
        self._arrived: dict[Identity, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serves until cancelled; `keep` may have been called before."""
        async with asyncio.TaskGroup() as self._group:
            self.keep(frozenset(self._arrived))
            await asyncio.Event().wait()

    def keep(self, identities: frozenset[Identity]) -> None:
        """From now on, holds certificates for these identities and for no other."""
        for identity in tuple(self._arrived):
            if identity not in identities:
                self._forget(identity)
        for identity in identities:
            self._arrived.setdefault(identity, asyncio.Event())
            if self._group is not None and identity not in self._tasks:
                self._tasks[identity] = self._group.create_task(self._serve(identity))

    def holds(self, identity: str) -> bool:
        """Says whether the engine has credentials of this identity that have not ended."""
        held = self._held.get(identity)
        return held is not None and held.validity.not_after_s > self._clock()

    async def wait(self, identity: Identity, timeout_s: float) -> None:
        """Returns when a certificate has come, the time is up, or nobody asks for one."""
        event = self._arrived.get(identity)
        if event is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await event.wait()
            except TimeoutError:
                pass

    def missing(self) -> tuple[str, ...]:
        """Returns the identities that are asked for and have never had a certificate."""
        return tuple(str(identity) for identity in self._arrived if str(identity) not in self._held)

    def held(self) -> Mapping[str, Certificate]:
        return self._held

    def _forget(self, identity: Identity) -> None:
        self._arrived.pop(identity).set()
        task = self._tasks.pop(identity, None)
        if task is not None:
            task.cancel()
        if self._held.pop(str(identity), None) is not None:
            self._sink.forget_credentials(str(identity))

    async def _serve(self, identity: Identity) -> None:
        """Fetches, waits until half-life, fetches again; cancelled when the identity is no longer asked for."""
        failures = 0
        alarmed_left_s: float | None = None
        while True:
            try:
                async with self._slots:
                    certificate = await self._fetch(identity)
                self._install(identity, certificate)
                failures, alarmed_left_s = 0, None
                delay_s = renewal_delay_s(certificate.validity, self._clock(), random.random())
            except CALL_ERRORS as error:
                failures += 1
                alarmed_left_s = self._alarm(identity, error, failures, alarmed_left_s)
                delay_s = RETRY.delay_s(failures, random.random())
            await self._sleep(delay_s)

    def _install(self, identity: Identity, certificate: Certificate) -> None:
        """Raises CredentialError when the engine does not take it; the one before stays."""
        self._sink.set_credentials(str(identity), certificate.credentials)
        self._held[str(identity)] = certificate
        self._arrived[identity].set()
        expires = printable_time(certificate.validity.not_after_s)
        log.info("certificate issued", identity=str(identity), expires=expires, serial=certificate.serial)

    def _alarm(self, identity: Identity, error: BaseException, failures: int, alarmed_left_s: float | None) -> float | None:
        """Logs a failure as loudly as it deserves; returns what was left of the certificate at the last alarm."""
        held = self._held.get(str(identity))
        reason = describe(error)
        if held is None:
            log.error("no certificate", identity=str(identity), reason=reason, failures=failures)
            return None
        now_s = self._clock()
        left_s = held.validity.not_after_s - now_s
        if not alarm_due(held.validity, now_s, alarmed_left_s):
            return alarmed_left_s
        log.error("certificate not renewed", identity=str(identity), reason=reason, failures=failures, left_s=round(left_s))
        return left_s
