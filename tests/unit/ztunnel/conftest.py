"""Runs tests that are coroutines, on the loop that ztunnel runs on."""

import pytest
import uvloop

from tests.coroutines import run_if_coroutine


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_if_coroutine(pyfuncitem, uvloop.new_event_loop)
