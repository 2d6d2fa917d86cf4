"""Holds a certificate for every identity of the node's pods, as long as a pod of it is there."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from mesh.errors import CredentialError
from mesh.identity import Identity
from runtime.backoff import Backoff
from ztunnel.certificates.request import Certificate, printable_time
from ztunnel.certificates.schedule import Validity, alarm_due, renewal_delay_s, retry_delay_s
from ztunnel.certificates.trust import Trust, why_untrusted
from ztunnel.certificates.turns import Turns
from ztunnel.control_plane import CALL_ERRORS, describe
from ztunnel.engine.interface import Credentials

RETRY = Backoff(first_s=0.25, limit_s=30.0)
# A node's pods may be a hundred at start; the CA and this loop sign and check a few at a time.
IN_BACKGROUND = 4
# Calls that connections wait for do not queue behind those, even if a CA that hangs holds them all.
ALL_TOGETHER = 16
# Connections that come while the CA is away do not each ask it anew.
HURRY_EVERY_S = 1.0

Fetch = Callable[[Identity], Awaitable[Certificate]]

log = structlog.get_logger(scope="certificates")


class CredentialSink(Protocol):
    """The part of the engine that this needs."""

    def set_credentials(self, identity: str, credentials: Credentials) -> None: ...

    def forget_credentials(self, identity: str) -> None: ...


async def pause(delay_s: float, woken: asyncio.Event) -> None:
    """Returns when the time is up, or earlier when it is woken."""
    try:
        async with asyncio.timeout(delay_s):
            await woken.wait()
    except TimeoutError:
        pass


@dataclass(slots=True, eq=False)
class _Charge:
    """One identity that pods of this node have.

    Args:
        arrived: it has a certificate, or is asked for no longer.
        hurried: ends the pause before the next attempt.
        urgent: a connection waits, or what is held is no longer believed.
        tried_s: when the last attempt ended.
        alarmed_left_s: what was left of the certificate at the last alarm.
    """

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)
    urgent: bool = False
    failures: int = 0
    tried_s: float = float("-inf")
    alarmed_left_s: float | None = None
    task: asyncio.Task[None] | None = None


class CertificateKeeper:
    """One task an identity; the old certificate is kept while the CA is away."""

    def __init__(
        self,
        fetch: Fetch,
        sink: CredentialSink,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float, asyncio.Event], Awaitable[None]] = pause,
    ) -> None:
        self._fetch = fetch
        self._sink = sink
        self._clock = clock
        self._sleep = sleep
        self._charges: dict[Identity, _Charge] = {}
        # By SPIFFE URI.
        self._held: dict[str, Certificate] = {}
        self._turns = Turns(IN_BACKGROUND, ALL_TOGETHER)
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serves until cancelled; `keep` may have been called before."""
        async with asyncio.TaskGroup() as self._group:
            self.keep(frozenset(self._charges))
            await asyncio.Event().wait()

    def keep(self, identities: frozenset[Identity]) -> None:
        """From now on, holds certificates for these identities and for no other."""
        for identity in tuple(self._charges):
            if identity not in identities:
                self._forget(identity)
        for identity in identities:
            charge = self._charges.setdefault(identity, _Charge())
            if self._group is not None and charge.task is None:
                charge.task = self._group.create_task(self._serve(identity, charge))

    def believe(self, trust: Trust) -> None:
        """From now on, all identities trust this; one that is itself no longer trusted is asked for at once."""
        for identity, charge in self._charges.items():
            held = self._held.get(str(identity))
            if held is not None:
                self._believe(identity, charge, held, trust)

    def holds(self, identity: str) -> bool:
        """Says whether the engine has credentials of this identity that have not ended."""
        held = self._held.get(identity)
        return held is not None and held.validity.not_after_s > self._clock()

    async def wait(self, identity: Identity, timeout_s: float) -> None:
        """Returns when a certificate has come, the time is up, or nobody asks for one. It is asked for at once, before others."""
        charge = self._charges.get(identity)
        if charge is None:
            return
        if not self.holds(str(identity)):
            charge.arrived.clear()
            self._hurry(charge, HURRY_EVERY_S)
        try:
            async with asyncio.timeout(timeout_s):
                await charge.arrived.wait()
        except TimeoutError:
            pass

    def missing(self) -> tuple[str, ...]:
        """Returns the identities that are asked for and have never had a certificate."""
        return tuple(str(identity) for identity in self._charges if str(identity) not in self._held)

    def held(self) -> Mapping[str, Certificate]:
        return self._held

    def _forget(self, identity: Identity) -> None:
        charge = self._charges.pop(identity)
        charge.arrived.set()
        if charge.task is not None:
            charge.task.cancel()
        if self._held.pop(str(identity), None) is not None:
            self._sink.forget_credentials(str(identity))

    def _hurry(self, charge: _Charge, after_s: float) -> None:
        """Lets the next attempt be now, or when so long has passed since the last one."""
        charge.urgent = True
        self._turns.hasten(charge)
        if self._clock() - charge.tried_s >= after_s:
            charge.hurried.set()

    def _believe(self, identity: Identity, charge: _Charge, held: Certificate, trust: Trust) -> None:
        credentials = replace(held.credentials, roots=trust.roots, revoked=trust.revoked)
        try:
            self._sink.set_credentials(str(identity), credentials)
        except CredentialError as error:
            log.error("trust not applied", identity=str(identity), reason=str(error))
            return
        self._held[str(identity)] = replace(held, credentials=credentials)
        reason = why_untrusted(credentials.certificate_chain, trust)
        if reason:
            log.warning("certificate no longer trusted", identity=str(identity), reason=reason, serial=held.serial)
            self._hurry(charge, 0.0)

    async def _serve(self, identity: Identity, charge: _Charge) -> None:
        """Fetches, waits until half-life, fetches again; cancelled when the identity is no longer asked for."""
        while True:
            async with self._turns.take(charge, charge.urgent):
                delay_s = await self._attempt(identity, charge)
            # Whoever hurried until now got this attempt.
            charge.hurried.clear()
            await self._sleep(delay_s, charge.hurried)

    async def _attempt(self, identity: Identity, charge: _Charge) -> float:
        """Fetches once; returns how long to wait for the next time."""
        try:
            certificate = await self._fetch(identity)
            self._install(identity, charge, certificate)
        except CALL_ERRORS as error:
            charge.failures += 1
            charge.tried_s = self._clock()
            self._alarm(identity, charge, error)
            return retry_delay_s(RETRY.delay_s(charge.failures, random.random()), self._validity(identity), self._clock())
        charge.failures, charge.alarmed_left_s, charge.urgent = 0, None, False
        charge.tried_s = self._clock()
        return renewal_delay_s(certificate.validity, self._clock(), random.random())

    def _install(self, identity: Identity, charge: _Charge, certificate: Certificate) -> None:
        """Raises CredentialError when the engine does not take it; the one before stays."""
        self._sink.set_credentials(str(identity), certificate.credentials)
        self._held[str(identity)] = certificate
        charge.arrived.set()
        expires = printable_time(certificate.validity.not_after_s)
        log.info("certificate issued", identity=str(identity), expires=expires, serial=certificate.serial)

    def _validity(self, identity: Identity) -> Validity | None:
        held = self._held.get(str(identity))
        return None if held is None else held.validity

    def _alarm(self, identity: Identity, charge: _Charge, error: BaseException) -> None:
        """Logs a failure as loudly as it deserves."""
        validity, reason = self._validity(identity), describe(error)
        if validity is None:
            log.error("no certificate", identity=str(identity), reason=reason, failures=charge.failures)
            return
        now_s = self._clock()
        if alarm_due(validity, now_s, charge.alarmed_left_s):
            charge.alarmed_left_s = validity.not_after_s - now_s
            left_s = round(charge.alarmed_left_s)
            log.error("certificate not renewed", identity=str(identity), reason=reason, failures=charge.failures, left_s=left_s)
