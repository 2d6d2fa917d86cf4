"""Fixtures of the engine contract, and a runner for tests that are coroutines."""

import asyncio
import inspect
import os
import resource
from collections.abc import Iterator

import pytest
import uvloop

from tests.netns.engine.certificates import Authority
from tests.netns.engine.ground import Ground, make_ground
from tests.netns.engine.world import World

# Every engine that there is; each must pass every test here.
ENGINES = ["python"]


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    with make_ground(f"engine{os.getpid()}") as ground:
        yield ground


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session", autouse=True)
def _many_files() -> None:
    """A thousand connections have four thousand ends, all in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest, ground: Ground, authority: Authority) -> World:
    return World(ground, request.param, authority)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine on uvloop, inside its world."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    world = pyfuncitem.funcargs["world"]
    assert isinstance(world, World)

    async def test() -> None:
        async with world:
            await pyfuncitem.obj(**arguments)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
    return True
