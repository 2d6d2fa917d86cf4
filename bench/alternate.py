"""The order of a measurement: every load in every mode by turns, again and again, so that what disturbs the machine disturbs all alike."""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import load as generator
from bench.load import LoadFailed, Target
from bench.process import resident_mb
from bench.rows import Load, Memory

Samples = Mapping[tuple[str, str], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Mode:
    """One of the things that are compared.

    Args:
        proxies: process ids of the client's and the server's proxy; empty where there is none.
        prepare: called before each of its turns.
    """

    name: str
    target: Target
    proxies: tuple[int, ...]
    prepare: Callable[[], None] = lambda: None


def measure(loads: Sequence[Load], modes: Sequence[Mode], repeat: int, duration_s: int) -> Samples:
    """Runs everything; returns a value for each repetition, by (row name, mode).

    Raises:
        LoadFailed: naming the mode and the load.
    """
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    for turn in range(repeat):
        for load in loads:
            for mode in modes:
                mode.prepare()
                for name, value in _measure_once(load, mode, duration_s).items():
                    samples[name, mode.name].append(value)
                    print(f"{turn + 1}/{repeat} {name} {mode.name} {value:.4g}", file=sys.stderr, flush=True)
    return samples


def _measure_once(load: Load, mode: Mode, duration_s: int) -> Mapping[str, float]:
    if isinstance(load, Memory):
        return {"memory": max(map(resident_mb, mode.proxies), default=0.0)}
    try:
        return generator.run(load, mode.target, duration_s)
    except LoadFailed as error:
        raise LoadFailed(f"{load} with {mode.name}: {error}") from error
