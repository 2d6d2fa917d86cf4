"""Answers the engine's misses: waits for what a decision needs, then decides and answers in one go.

Nothing is awaited between reading what is known and handing the decision over, so an invalidation can never fall between
them and a decision from old knowledge is never cached.
"""

import asyncio
from dataclasses import replace
from typing import Protocol

import structlog

from mesh.identity import Identity, parse_identity
from ztunnel.decisions import decide, hostnames_of, names_needed
from ztunnel.engine.interface import Cause, Decision, Flow, Reject, Tunnel
from ztunnel.surroundings import Surroundings
from ztunnel.telemetry.dry_run import DryRun
from ztunnel.telemetry.reports import OVERFLOW
from ztunnel.verdict import Verdict

# A stranger's first connection waits so long for a control plane that does not answer, and then passes: long enough for a
# round trip to another zone and a busy control plane, short enough not to look like an outage.
UNKNOWN_WAIT_S = 1.0
# Until the control plane has answered once nothing at all is known, and what would pass might belong in a tunnel.
# The same for policies: until they are told nobody is let in.
FIRST_WAIT_S = 4.0
# Labels are worth one round trip, never an outage.
LABELS_WAIT_S = 0.1
# A resolver answers within a round trip, or asks once more after 5 s: by then the application has lost patience.
HOSTNAMES_WAIT_S = 2.0
# A pod that has just come connects before its certificate is there. With the waits above less than the engine's 10 s.
CREDENTIALS_WAIT_S = 3.5
# Each holds a task of about 4 KB.
MAX_PENDING = 4096

log = structlog.get_logger(scope="resolver")


class Knowledge(Protocol):
    """The part of discovery that decisions wait for."""

    synced: bool

    def settled(self, name: str) -> bool: ...

    async def settle(self, names: tuple[str, ...], timeout_s: float) -> None: ...


class Names(Protocol):
    """The part of the hostnames that decisions wait for."""

    def settled(self, hostname: str) -> bool: ...

    async def settle(self, hostnames: tuple[str, ...], timeout_s: float) -> None: ...


class Keeper(Protocol):
    """The part of the certificates that decisions wait for."""

    def holds(self, identity: str) -> bool: ...

    async def wait(self, identity: Identity, timeout_s: float) -> None: ...


class Answerer(Protocol):
    """The part of the engine that this needs."""

    def decide(self, flow: Flow, decision: Decision) -> None: ...


class Resolver:
    """One answer for each miss.

    Args:
        dry_run: told what policies in dry run would have refused.
    """

    def __init__(
        self,
        engine: Answerer,
        knowledge: Knowledge,
        names: Names,
        keeper: Keeper,
        surroundings: Surroundings,
        dry_run: DryRun,
    ) -> None:
        self._engine = engine
        self._knowledge = knowledge
        self._names = names
        self._keeper = keeper
        self._around = surroundings
        self._dry_run = dry_run
        self._turn = 0
        self._group: asyncio.TaskGroup | None = None
        self.pending = 0

    async def run(self) -> None:
        """Owns the waits; serves until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            await asyncio.Event().wait()

    def miss(self, flow: Flow) -> None:
        """Answers at once when all is known, else from a task of its own."""
        needed, wished = names_needed(flow, self._around)
        known = all(map(self._knowledge.settled, (*needed, *wished)))
        if known and all(map(self._names.settled, hostnames_of(flow, self._around))):
            verdict = self._decide(flow)
            if not self._lacking(verdict):
                self._answer(flow, verdict)
                return
        if self._group is None or self.pending >= MAX_PENDING:
            self._refuse(flow, Cause.OVERLOADED, "too many connections wait for decisions")
            return
        self.pending += 1
        self._group.create_task(self._settle(flow, needed, wished))

    async def _settle(self, flow: Flow, needed: tuple[str, ...], wished: tuple[str, ...]) -> None:
        try:
            await self._knowledge.settle(needed, UNKNOWN_WAIT_S if self._knowledge.synced else FIRST_WAIT_S)
            await self._knowledge.settle(wished, LABELS_WAIT_S)
            await self._names.settle(hostnames_of(flow, self._around), HOSTNAMES_WAIT_S)
            lacking = self._lacking(self._decide(flow))
            if lacking:
                await self._keeper.wait(parse_identity(lacking), CREDENTIALS_WAIT_S)
            self._finish(flow)
        except Exception:
            # One connection's trouble must not end the others.
            log.exception("no decision", flow=str(flow))
            self._refuse(flow, Cause.DECISION_TIMEOUT, "a broken invariant; see the line before")
        finally:
            self.pending -= 1

    def _finish(self, flow: Flow) -> None:
        verdict = self._decide(flow)
        lacking = self._lacking(verdict)
        if lacking:
            # Never in plain instead.
            self._refuse(flow, Cause.TLS_FAILURE, f"no certificate for {lacking}", verdict.decision.choices[0].report)
        else:
            self._answer(flow, verdict)

    def _decide(self, flow: Flow) -> Verdict:
        self._turn += 1
        return decide(flow, replace(self._around, turn=self._turn))

    def _lacking(self, verdict: Verdict) -> str:
        """Returns the identity that a tunnel needs and has no certificate, "" when there is none such."""
        # All tunnels of one flow prove the same identity: that of the pod.
        identity = next((choice.source_identity for choice in verdict.decision.choices if isinstance(choice, Tunnel)), "")
        return "" if not identity or self._keeper.holds(identity) else identity

    def _answer(self, flow: Flow, verdict: Verdict) -> None:
        self._dry_run.record(flow, verdict.would_deny)
        self._engine.decide(flow, verdict.decision)

    def _refuse(self, flow: Flow, cause: Cause, reason: str, report: int = OVERFLOW) -> None:
        self._answer(flow, Verdict(Decision((Reject(503, cause, report, reason),), cache=False)))
