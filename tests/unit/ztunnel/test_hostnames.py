"""Looking hostnames up: answers, failures, what is asked again and what is forgotten. The clock is the test's."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.coroutines import running
from tests.unit.ztunnel.fakes import eventually
from ztunnel import hostnames as module
from ztunnel.hostnames import IDLE_S, LIFETIME_S, MAX_ADDRESSES, RETRY_S, Hostnames, look_up

LONG_S = 20.0
ABSENT = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Scene:
    def __init__(self, max_hostnames: int = 1024) -> None:
        self.now_s = 0.0
        self.changes = 0
        self.asked: list[str] = []
        self.answers: dict[str, Iterable[str] | Exception] = {"db.example": ["192.0.2.2", "192.0.2.1", "192.0.2.1"]}
        self.held = asyncio.Event()
        self.held.set()
        self.hostnames = Hostnames(self._changed, self._look_up, lambda: self.now_s, max_hostnames)

    def _changed(self) -> None:
        self.changes += 1

    async def _look_up(self, hostname: str) -> Iterable[str]:
        self.asked.append(hostname)
        await self.held.wait()
        answer = self.answers.get(hostname, ABSENT)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.hostnames.run())

    async def at(self, now_s: float) -> None:
        """The time comes, and what is due then has been answered."""
        self.now_s, before = now_s, len(self.asked)
        self.hostnames.refresh()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(self.asked) >= before

    def known(self, hostname: str = "db.example") -> list[str]:
        return [str(ip) for ip in self.hostnames.addresses_of(hostname)]


async def test_a_name_is_looked_up_once_for_all_who_wait() -> None:
    scene = Scene()
    async with scene.running():
        assert not scene.hostnames.settled("db.example")
        await asyncio.gather(*(scene.hostnames.settle(("db.example",), LONG_S) for _ in range(3)))
        assert scene.hostnames.settled("db.example")
        assert (scene.known(), scene.asked, scene.changes) == (["192.0.2.1", "192.0.2.2"], ["db.example"], 1)


async def test_an_answer_that_comes_too_late_is_told() -> None:
    scene = Scene()
    scene.held.clear()
    async with scene.running():
        await scene.hostnames.settle(("db.example",), 0.01)
        assert (scene.known(), scene.changes) == ([], 0)
        scene.held.set()
        await eventually(lambda: scene.changes)
        assert scene.known() == ["192.0.2.1", "192.0.2.2"]


async def test_it_is_asked_again_when_its_time_is_up_and_only_a_change_is_told() -> None:
    scene = Scene()
    async with scene.running():
        await scene.hostnames.settle(("db.example",), LONG_S)
        await scene.at(LIFETIME_S - 1)
        assert len(scene.asked) == 1
        scene.answers["db.example"] = ["192.0.2.1", "192.0.2.2"]
        await scene.at(LIFETIME_S)
        assert (len(scene.asked), scene.changes) == (2, 1), "another order is no change"
        scene.answers["db.example"] = ["192.0.2.9"]
        await scene.at(2 * LIFETIME_S)
        assert (scene.known(), scene.changes) == (["192.0.2.9"], 2)


async def test_that_there_is_no_such_name_holds_for_a_short_time() -> None:
    scene = Scene()
    async with scene.running():
        await scene.hostnames.settle(("new.example",), LONG_S)
        assert scene.hostnames.settled("new.example")
        assert (scene.known("new.example"), scene.changes) == ([], 0)
        scene.answers["new.example"] = ["192.0.2.5"]
        await scene.at(RETRY_S)
        assert (scene.known("new.example"), scene.changes) == (["192.0.2.5"], 1)


@pytest.mark.parametrize(
    ("failure", "left"), [(NO_ANSWER, ["192.0.2.1", "192.0.2.2"]), (ABSENT, []), (TimeoutError(), ["192.0.2.1", "192.0.2.2"])]
)
async def test_what_was_known_goes_on_while_nobody_answers(failure: Exception, left: list[str]) -> None:
    scene = Scene()
    async with scene.running():
        await scene.hostnames.settle(("db.example",), LONG_S)
        scene.answers["db.example"] = failure
        await scene.at(LIFETIME_S)
        assert scene.known() == left
        scene.answers["db.example"] = ["192.0.2.1", "192.0.2.2"]
        await scene.at(LIFETIME_S + RETRY_S)
        assert scene.known() == ["192.0.2.1", "192.0.2.2"]


async def test_a_name_that_cannot_be_one_has_no_addresses() -> None:
    scene = Scene()
    scene.answers["x" * 100] = UnicodeError("label too long")
    async with scene.running():
        await scene.hostnames.settle(("x" * 100,), LONG_S)
        assert scene.known("x" * 100) == []


async def test_addresses_that_lead_back_into_the_pod_or_its_link_are_left_out() -> None:
    scene = Scene()
    bad = ["127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1%eth0", "224.0.0.1", "ff02::1", "::ffff:10.0.0.1"]
    scene.answers["db.example"] = [*bad, "2001:db8::1"]
    async with scene.running():
        await scene.hostnames.settle(("db.example",), LONG_S)
        assert scene.known() == ["2001:db8::1"]


async def test_what_nobody_asks_for_is_forgotten() -> None:
    scene = Scene()
    async with scene.running():
        await scene.hostnames.settle(("db.example",), LONG_S)
        await scene.at(IDLE_S - 1)
        assert len(scene.hostnames) == 1
        scene.known()
        await scene.at(IDLE_S)
        assert len(scene.hostnames) == 1, "it was asked for a second ago"
        changes = scene.changes
        await scene.at(2 * IDLE_S)
        assert (len(scene.hostnames), scene.changes) == (0, changes + 1), "a cached decision would never hear of a change"


async def test_the_least_recently_asked_for_goes_when_there_are_too_many() -> None:
    scene = Scene(max_hostnames=2)
    async with scene.running():
        for name in ("a.example", "b.example"):
            await scene.hostnames.settle((name,), LONG_S)
        scene.known("a.example")
        await scene.hostnames.settle(("c.example",), LONG_S)
        assert [scene.hostnames.settled(f"{name}.example") for name in "abc"] == [True, False, True]
        assert scene.changes == 1


async def test_few_lookups_at_a_time_and_few_addresses_of_each() -> None:
    scene = Scene()
    scene.held.clear()
    names = tuple(f"n{number}.example" for number in range(20))
    scene.answers = {name: [f"10.0.{number // 256}.{number % 256}" for number in range(1, 500)] for name in names}
    async with scene.running():
        waiting = asyncio.create_task(scene.hostnames.settle(names, LONG_S))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(scene.asked) == module.MAX_LOOKUPS
        scene.held.set()
        await waiting
        assert all(len(scene.known(name)) == MAX_ADDRESSES for name in names)


async def test_the_nodes_own_resolver_is_asked() -> None:
    assert "192.0.2.7" in await look_up("192.0.2.7")
    assert set(await look_up("localhost")) <= {"127.0.0.1", "::1"}
