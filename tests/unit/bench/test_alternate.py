"""Who is measured when."""

import os
from collections.abc import Mapping

import pytest

from bench import load as load_module
from bench.alternate import Mode, measure
from bench.load import LoadFailed, Target
from bench.rows import Load, Memory, NewConnections, Throughput

TARGET = Target((), "10.0.0.1:80", "10.0.0.1:5201")


def test_modes_take_turns_within_each_load(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def run(load: Load, target: Target, duration_s: int) -> Mapping[str, float]:
        order.append(f"run {load.rows[0].name}")
        return {row.name: float(len(order)) for row in load.rows}

    monkeypatch.setattr(load_module, "run", run)
    modes = [Mode(name, TARGET, (), lambda name=name: order.append(name)) for name in ("none", "ours")]  # type: ignore[misc]
    samples = measure([Throughput(1), NewConnections(64)], modes, repeat=2, duration_s=1)
    once = ["none", "run throughput-1", "ours", "run throughput-1", "none", "run connections", "ours", "run connections"]
    assert order == once * 2
    assert {key: len(values) for key, values in samples.items()} == {
        (row, mode): 2 for row in ("throughput-1", "connections") for mode in ("none", "ours")
    }


def test_memory_is_that_of_the_larger_proxy() -> None:
    samples = measure([Memory()], [Mode("ours", TARGET, (os.getpid(), 1)), Mode("none", TARGET, ())], repeat=1, duration_s=1)
    [ours] = samples["memory", "ours"]
    assert ours > 10
    assert samples["memory", "none"] == [0.0]


def test_failure_names_mode_and_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(load: Load, target: Target, duration_s: int) -> Mapping[str, float]:
        raise LoadFailed("Non-2xx")

    monkeypatch.setattr(load_module, "run", run)
    with pytest.raises(LoadFailed, match=r"NewConnections\(connections=64\) with envoy: Non-2xx"):
        measure([NewConnections(64)], [Mode("envoy", TARGET, ())], repeat=1, duration_s=1)
