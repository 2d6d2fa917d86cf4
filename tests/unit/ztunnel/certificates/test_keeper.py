"""Certificates come with pods, are renewed, survive the CA's absence, and go with the last pod."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from mesh.errors import CredentialError
from mesh.identity import Identity
from tests.unit.ztunnel.fakes import FakeEngine, eventually
from ztunnel.certificates.keeper import CertificateKeeper
from ztunnel.certificates.request import Certificate
from ztunnel.certificates.schedule import Validity
from ztunnel.engine.interface import Credentials

A, B = (Identity("cluster.local", "shop", name) for name in "ab")


class Ca:
    """Answers when the test lets it; time is the test's too."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.lifetime_s = 1000.0

    async def fetch(self, identity: Identity) -> Certificate:
        self.asked.append(identity.service_account)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        serial = str(len(self.asked))
        return Certificate(Credentials(serial.encode(), b"key", b"roots"), Validity(self.now_s, self.now_s + self.lifetime_s), serial)


class Sleeps:
    """Records what was slept and lets the test end it."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self._wake = asyncio.Event()

    async def __call__(self, delay_s: float) -> None:
        self.asked_s.append(delay_s)
        await self._wake.wait()
        self._wake.clear()

    def asked_more_than(self, count: int) -> bool:
        return len(self.asked_s) > count

    def wake(self) -> None:
        self._wake.set()


@asynccontextmanager
async def running(keeper: CertificateKeeper) -> AsyncIterator[None]:
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_certificate_for_each_identity_and_none_after_the_last_pod() -> None:
    ca, engine = Ca(), FakeEngine()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s)
    keeper.keep(frozenset({A}))
    assert keeper.missing() == (str(A),)
    async with running(keeper):
        keeper.keep(frozenset({A, B}))
        await keeper.wait(A, 20.0)
        await keeper.wait(B, 20.0)
        assert set(engine.credentials) == {str(A), str(B)}
        assert keeper.holds(str(A))
        assert keeper.missing() == ()
        keeper.keep(frozenset({B}))
        assert set(engine.credentials) == set(keeper.held()) == {str(B)}
        assert not keeper.holds(str(A))
        keeper.keep(frozenset())
        assert engine.credentials == {}
    assert sorted(ca.asked) == ["a", "b"]


async def test_it_is_renewed_at_half_life() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        assert 450 <= sleeps.asked_s[0] <= 550
        ca.now_s = 500.0
        sleeps.wake()
        await eventually(lambda: len(sleeps.asked_s) == 2)
        assert engine.credentials[str(A)].certificate_chain == b"2"


async def test_the_old_one_serves_while_the_ca_is_away() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        ca.error = ConnectionRefusedError(111, "Connection refused")
        for _ in range(3):
            asked = len(sleeps.asked_s)
            sleeps.wake()
            await eventually(partial(sleeps.asked_more_than, asked))
        assert sleeps.asked_s[1] < 0.3, "it tries again soon"
        assert sleeps.asked_s[1] < sleeps.asked_s[3] <= 1.0, "and then less often"
        assert engine.credentials[str(A)].certificate_chain == b"1"
        assert keeper.holds(str(A))
        ca.now_s = 1000.0
        assert not keeper.holds(str(A)), "it ended"
        ca.error = None
        sleeps.wake()
        await eventually(lambda: keeper.holds(str(A)))


async def test_credentials_that_the_engine_does_not_take_are_asked_for_again() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(broken=True), Sleeps()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        assert keeper.missing() == (str(A),)
        engine.broken = False
        sleeps.wake()
        await keeper.wait(A, 20.0)
        assert keeper.holds(str(A))


async def test_waiting_ends_with_the_time_or_with_the_pod() -> None:
    ca, engine = Ca(), FakeEngine()
    ca.error = CredentialError("token expired")
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s)
    async with running(keeper):
        keeper.keep(frozenset({A}))
        await keeper.wait(A, 0.01)
        waiting = asyncio.create_task(keeper.wait(A, 20.0))
        await asyncio.sleep(0)
        keeper.keep(frozenset())
        await waiting
        await keeper.wait(A, 20.0)
