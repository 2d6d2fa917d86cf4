"""Runs tests that are coroutines, and gives them a control plane on the loopback interface."""

import asyncio
from pathlib import Path

import pytest

from tests.coroutines import run_if_coroutine
from tests.unit.controlplane.world import World


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_if_coroutine(pyfuncitem, asyncio.new_event_loop)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
