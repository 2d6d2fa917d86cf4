"""Fixtures of the engine contract, and a runner for tests that are coroutines."""

import os
import resource
from collections.abc import Iterator

import pytest
import uvloop

from tests.coroutines import run_if_coroutine
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
    return run_if_coroutine(pyfuncitem, uvloop.new_event_loop, lambda: pyfuncitem.funcargs["world"])
