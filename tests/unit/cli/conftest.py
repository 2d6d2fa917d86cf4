"""Runs tests that are coroutines."""

import asyncio

import pytest

from tests.coroutines import run_if_coroutine


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_if_coroutine(pyfuncitem, asyncio.new_event_loop)
