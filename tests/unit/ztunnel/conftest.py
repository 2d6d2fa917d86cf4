"""Runs tests that are coroutines, on the loop that ztunnel runs on."""

import asyncio
import inspect

import pytest
import uvloop

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

    uvloop.run(bounded())
    return True
