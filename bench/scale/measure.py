"""Measures the rows of the large cluster, each as often as it is repeated, with a control plane that is started anew each time."""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.rows import Row
from bench.scale.cluster import Cluster
from bench.scale.decision import decision_us
from bench.scale.node import memory_mb
from bench.scale.plane import Plane, running_plane
from bench.scale.propagation import p99_ms
from bench.scale.signing import measure_signing

LARGE, SMALL = Cluster(), Cluster(workloads=100, services=5, policies=10)
# Of the control plane, gRPC and HTTP: far from what programs here listen on, below the ports that connections are given.
PORTS = (25012, 25021)
# Above a thousand signatures at the rate that is asked for.
SIGNING_S = 3.0
_OF_THE_PLANE = frozenset(("scale-ready", "scale-memory", "scale-propagation-p99", "scale-ztunnel-memory"))


def measure_scale(rows: Sequence[Row], repeat: int) -> Mapping[tuple[str, str], Sequence[float]]:
    """Returns the values of each row, by (row name, "ours").

    Raises:
        bench.process.NotReady: a program did not do its part.
    """
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    names = frozenset(row.name for row in rows)
    for turn in range(repeat if names else 0):
        for name, value in _measure_once(names):
            samples[name, "ours"].append(value)
            print(f"{turn + 1}/{repeat} {name} ours {value:.4g}", file=sys.stderr, flush=True)
    return samples


def _measure_once(names: frozenset[str]) -> Iterator[tuple[str, float]]:
    measured = _of_the_plane(names) if names & _OF_THE_PLANE else ()
    yield from ((name, value) for name, value in measured if name in names)
    if "scale-decision" in names:
        yield "scale-decision", decision_us()
    if "scale-signing" in names:
        yield "scale-signing", measure_signing(SIGNING_S).kept


def _of_the_plane(names: frozenset[str]) -> Iterable[tuple[str, float]]:
    small_mb = 0.0
    if "scale-ztunnel-memory" in names:
        with _plane(SMALL) as (plane, _):
            small_mb = memory_mb(plane, SMALL)
    with _plane(LARGE) as (plane, manifests):
        yield "scale-ready", plane.ready_s
        if "scale-propagation-p99" in names:
            yield "scale-propagation-p99", p99_ms(plane, manifests)
        if "scale-ztunnel-memory" in names:
            yield "scale-ztunnel-memory", memory_mb(plane, LARGE) - small_mb
        yield "scale-memory", plane.peak_mb


@contextmanager
def _plane(cluster: Cluster) -> Iterator[tuple[Plane, Path]]:
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        manifests = Path(name) / "manifests"
        manifests.mkdir()
        cluster.write(manifests)
        with running_plane(Path(name), manifests, PORTS) as plane:
            yield plane, manifests
