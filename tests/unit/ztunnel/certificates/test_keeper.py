"""Certificates come with pods, are renewed, survive the CA's absence, and go with the last pod."""

import asyncio
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.errors import CredentialError
from mesh.identity import Identity
from tests.coroutines import running
from tests.unit.ztunnel.fakes import FakeEngine, eventually
from tests.unit.ztunnel.pki import Root
from ztunnel.certificates.keeper import HURRY_EVERY_S, IN_BACKGROUND, CertificateKeeper
from ztunnel.certificates.request import Certificate
from ztunnel.certificates.schedule import Validity
from ztunnel.certificates.trust import Trust
from ztunnel.engine.interface import Credentials

A, B = (Identity("cluster.local", "shop", name) for name in "ab")


class Ca:
    """Answers when the test lets it; time is the test's too."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.lifetime_s = 1000.0
        self.gate: asyncio.Event | None = None
        self.chain: bytes | None = None

    async def fetch(self, identity: Identity) -> Certificate:
        self.asked.append(identity.service_account)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        serial = str(len(self.asked))
        validity = Validity(self.now_s, self.now_s + self.lifetime_s)
        return Certificate(Credentials(self.chain or serial.encode(), b"key", b"roots"), validity, serial)


class Sleeps:
    """Records what was slept and lets the test end it."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self.pauses: list[asyncio.Event] = []
        self._wake = asyncio.Event()

    async def __call__(self, delay_s: float, woken: asyncio.Event) -> None:
        self.asked_s.append(delay_s)
        self.pauses.append(woken)
        own = asyncio.ensure_future(self._wake.wait())
        hurried = asyncio.ensure_future(woken.wait())
        try:
            await asyncio.wait((own, hurried), return_when=asyncio.FIRST_COMPLETED)
        finally:
            own.cancel()
            hurried.cancel()
        self._wake.clear()

    def asked_more_than(self, count: int) -> bool:
        return len(self.asked_s) > count

    def wake(self) -> None:
        self._wake.set()


async def test_a_certificate_for_each_identity_and_none_after_the_last_pod() -> None:
    ca, engine = Ca(), FakeEngine()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s)
    keeper.keep(frozenset({A}))
    assert keeper.missing() == (str(A),)
    async with running(keeper.run()):
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
    async with running(keeper.run()):
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
    async with running(keeper.run()):
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
    async with running(keeper.run()):
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
    async with running(keeper.run()):
        keeper.keep(frozenset({A}))
        await keeper.wait(A, 0.01)
        waiting = asyncio.create_task(keeper.wait(A, 20.0))
        await asyncio.sleep(0)
        keeper.keep(frozenset())
        await waiting
        await keeper.wait(A, 20.0)


async def test_a_connection_s_identity_goes_before_the_others() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    ca.gate = asyncio.Event()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    crowd = [Identity("cluster.local", "shop", f"p{number}") for number in range(20)]
    async with running(keeper.run()):
        keeper.keep(frozenset({*crowd, A}))
        await eventually(lambda: len(ca.asked) == IN_BACKGROUND)
        waited = next(one for one in crowd if one.service_account not in ca.asked)
        waiting = asyncio.create_task(keeper.wait(waited, 20.0))
        await eventually(lambda: len(ca.asked) > IN_BACKGROUND)
        assert ca.asked[IN_BACKGROUND:] == [waited.service_account], "at once, though the CA holds all in the background"
        ca.gate.set()
        await waiting
        assert keeper.holds(str(waited))
        await eventually(lambda: not keeper.missing())
    assert sorted(ca.asked) == sorted(one.service_account for one in (*crowd, A)), "each once"


async def test_a_connection_ends_the_pause_after_a_failure_but_does_not_flood_the_ca() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    ca.error = ConnectionRefusedError(111, "Connection refused")
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper.run()):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        for _ in range(5):
            await keeper.wait(A, 0.0)
        assert not sleeps.pauses[0].is_set(), "it was tried just now"
        ca.now_s += HURRY_EVERY_S
        ca.error = None
        await keeper.wait(A, 20.0)
        assert keeper.holds(str(A))
    assert len(ca.asked) == 2


async def test_attempts_go_on_until_the_end_however_short_the_life() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    ca.lifetime_s = 20.0
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper.run()):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        assert 9.0 <= sleeps.asked_s[0] <= 11.0
        ca.error = ConnectionRefusedError(111, "Connection refused")
        while ca.now_s + sleeps.asked_s[-1] < 20.0:
            ca.now_s += sleeps.asked_s[-1]
            asked = len(sleeps.asked_s)
            sleeps.wake()
            await eventually(partial(sleeps.asked_more_than, asked))
        assert ca.now_s > 18.0
        ca.error = None
        sleeps.wake()
        await eventually(lambda: keeper.held()[str(A)].validity.not_before_s > 18.0)


ROOT, NEXT = Root("root"), Root("next")


def leaf(root: Root) -> bytes:
    return root.sign(ec.generate_private_key(ec.SECP256R1()).public_key()).encode()


async def test_what_is_believed_reaches_every_identity_without_a_new_certificate() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    ca.chain = leaf(ROOT)
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper.run()):
        keeper.keep(frozenset({A, B}))
        await eventually(lambda: len(sleeps.asked_s) == 2)
        both = (ROOT.pem + NEXT.pem).encode()
        lists = ROOT.revokes(12345)
        keeper.believe(Trust(both, lists))
        for identity in (A, B):
            given = engine.credentials[str(identity)]
            assert (given.roots, given.revoked, given.certificate_chain) == (both, lists, ca.chain)
        assert not any(woken.is_set() for woken in sleeps.pauses)


@pytest.mark.parametrize("why", ["revoked", "root"])
async def test_a_certificate_that_is_no_longer_believed_is_replaced_at_once(why: str) -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    ca.chain = leaf(ROOT)
    serial = x509.load_pem_x509_certificate(ca.chain).serial_number
    trust = Trust(ROOT.pem.encode(), ROOT.revokes(serial)) if why == "revoked" else Trust(NEXT.pem.encode())
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper.run()):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        old, ca.chain = ca.chain, leaf(NEXT)
        keeper.believe(trust)
        assert engine.credentials[str(A)].certificate_chain == old, "until the new one is there"
        await eventually(lambda: len(ca.asked) == 2)
        await eventually(lambda: engine.credentials[str(A)].certificate_chain == ca.chain)


async def test_an_engine_that_does_not_take_the_trust_keeps_what_it_has() -> None:
    ca, engine, sleeps = Ca(), FakeEngine(), Sleeps()
    keeper = CertificateKeeper(ca.fetch, engine, lambda: ca.now_s, sleeps)
    async with running(keeper.run()):
        keeper.keep(frozenset({A}))
        await eventually(lambda: sleeps.asked_s)
        before, engine.broken = engine.credentials[str(A)], True
        keeper.believe(Trust(NEXT.pem.encode()))
        assert engine.credentials[str(A)] == before == keeper.held()[str(A)].credentials
