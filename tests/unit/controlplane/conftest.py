"""Runs tests that are coroutines, and gives them a control plane on the loopback interface."""

import asyncio
import inspect
from pathlib import Path

import pytest

from tests.unit.controlplane.world import World

# Far above what any of them takes; what hangs is cancelled and fails.
TIMEOUT_S = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def bounded() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
