"""The shell around an engine, played by the test: answers misses by rule, keeps every notice, and waits for what must come."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from tests.netns.engine.peers import WAIT_S, poll
from ztunnel.engine import make_engine
from ztunnel.engine.interface import Action, Closed, Counters, Decision, Direct, Endpoint, Flow, Miss, Notice, Opened, Refused

# Answers a miss; None: leave it waiting.
Rule = Callable[[Flow], Decision | None]
T = TypeVar("T", Miss, Opened, Closed, Refused)


class Shell:
    """One engine and all that it said.

    Args:
        rule: replaced by tests at will; from then on it answers the misses that come.
    """

    def __init__(self, engine_name: str, rule: Rule = lambda flow: None) -> None:
        self.rule = rule
        self.notices: list[Notice] = []
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.engine = make_engine(engine_name, self._wake)
        self.stopped = False

    def _wake(self) -> None:
        self._loop.call_soon(self._take)

    def _take(self) -> None:
        for notice in self.engine.take_notices():
            self.notices.append(notice)
            if isinstance(notice, Miss) and (decision := self.rule(notice.flow)):
                self.engine.decide(notice.flow, decision)
        self._news.set()

    def all(self, kind: type[T]) -> list[T]:
        """The notices of one kind so far."""
        return [notice for notice in self.notices if isinstance(notice, kind)]

    async def expect(self, kind: type[T], count: int = 1) -> list[T]:
        """Waits until there are at least `count` notices of this kind, and returns all of them."""
        await self.until(lambda: len(self.all(kind)) >= count, f"{count} x {kind.__name__}")
        return self.all(kind)

    async def one(self, kind: type[T]) -> T:
        """Waits for the notice of this kind; there must be no second."""
        found = await self.expect(kind)
        assert len(found) == 1, found
        return found[0]

    async def until(self, condition: Callable[[], bool], words: str) -> None:
        """Waits, notice by notice, until the condition holds."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{words} did not come; there were {self.notices[-20:]}") from None

    async def until_idle(self) -> None:
        """Waits until the engine carries nothing and keeps no byte."""
        await poll(lambda: not (self.engine.state().connections or self.engine.state().buffered_bytes), "an idle engine")

    async def stop(self, drain_timeout_s: float) -> None:
        """Stops the engine, once."""
        if not self.stopped:
            self.stopped = True
            await self.engine.stop(drain_timeout_s)

    def counters(self, report: int) -> Counters:
        """Raises: KeyError: nothing was counted for the report."""
        return {counters.report: counters for counters in self.engine.counters()}[report]


def always(action: Action) -> Rule:
    """One action for every flow."""
    return lambda flow: Decision((action,))


def to_authority(report: int, *, keep_source: bool = True) -> Rule:
    """Inbound: connect to what was asked for."""
    return lambda flow: Decision((Direct(endpoint(flow.destination), keep_source, report),))


def endpoint(text: str) -> Endpoint:
    """Reads "address:port" or "[v6]:port"."""
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)
