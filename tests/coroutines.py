"""Runs tests that are coroutines (the conftest.py of a folder that has such says on which loop), and what they run beside them."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

# Far above what a test without namespaces takes; what hangs is cancelled and fails.
TIMEOUT_S = 30.0


def run_if_coroutine(
    item: pytest.Function,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    inside: Callable[[], AbstractAsyncContextManager[object]] = lambda: asyncio.timeout(TIMEOUT_S),
) -> bool | None:
    """Answers pytest's hook `pytest_pyfunc_call`.

    Args:
        inside: makes what the test runs inside of, on its loop.
    """
    if not inspect.iscoroutinefunction(item.obj):
        return None
    arguments = {name: item.funcargs[name] for name in inspect.signature(item.obj).parameters}

    async def test() -> None:
        async with inside():
            await item.obj(**arguments)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(test())
    return True


@asynccontextmanager
async def running(part: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Runs what serves until it is cancelled, for as long as the block does; it has begun when the block begins."""
    task = asyncio.create_task(part)
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
