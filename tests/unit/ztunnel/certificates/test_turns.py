"""The queue before the CA: few in the background, those that are waited for at once, nobody forgotten."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ztunnel.fakes import eventually
from ztunnel.certificates.turns import Turns


class Guests:
    """Take turns that the test ends."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.inside: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}

    async def come(self, name: str, urgent: bool = False) -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, urgent))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _visit(self, name: str, urgent: bool) -> None:
        async with self._turns.take(name, urgent):
            self.inside.append(name)
            await self._leave[name].wait()
            self.inside.remove(name)


async def test_background_in_order_and_the_urgent_ones_beside_it() -> None:
    turns = Turns(1, 2)
    guests = Guests(turns)
    for name in "abc":
        await guests.come(name)
    assert guests.inside == ["a"]
    await guests.come("x", urgent=True)
    assert guests.inside == ["a", "x"]
    turns.hasten("c")
    turns.hasten("nobody")
    assert guests.inside == ["a", "x"], "no more than two"
    await guests.leave("a")
    assert guests.inside == ["x", "c"], "before b, which came earlier"
    await guests.leave("x")
    await guests.leave("c")
    assert guests.inside == ["b"]
    await guests.leave("b")


async def test_who_goes_while_it_waits_leaves_its_place() -> None:
    guests = Guests(Turns(1, 1))
    for name in "abc":
        await guests.come(name)
    guests.tasks["b"].cancel()
    await asyncio.gather(guests.tasks["b"], return_exceptions=True)
    await guests.leave("a")
    assert guests.inside == ["c"]
    await guests.leave("c")


async def test_who_goes_in_the_moment_of_its_turn_gives_it_back() -> None:
    turns = Turns(1, 1)
    guests = Guests(turns)
    async with turns.take("a", False):
        await guests.come("b")
    # Its turn has come, and it has not noticed yet.
    guests.tasks["b"].cancel()
    await asyncio.gather(guests.tasks["b"], return_exceptions=True)
    assert guests.inside == []
    await guests.come("c")
    assert guests.inside == ["c"]
    await guests.leave("c")


@given(st.lists(st.tuples(st.sampled_from(["come", "urgent", "hasten", "leave", "cancel"]), st.integers(0, 7)), max_size=40))
def test_whatever_happens_the_bounds_hold_and_everybody_has_a_turn(steps: list[tuple[str, int]]) -> None:
    async def story() -> None:
        turns = Turns(2, 3)
        guests = Guests(turns)
        for step, number in steps:
            name = str(number)
            task = guests.tasks.get(name)
            alive = task is not None and not task.done()
            if step in {"come", "urgent"} and not alive:
                await guests.come(name, step == "urgent")
            elif step == "hasten":
                turns.hasten(name)
            elif step == "leave" and name in guests.inside:
                await guests.leave(name)
            elif step == "cancel" and task is not None and alive and name not in guests.inside:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert len(guests.inside) <= 3
        for event in guests._leave.values():
            event.set()
        await eventually(lambda: all(task.done() for task in guests.tasks.values()))

    asyncio.run(asyncio.wait_for(story(), 20))
