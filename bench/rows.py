"""What is measured: the rows of the result, the loads that produce them, and the targets."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the result.

    Args:
        target: what the ratio ours / envoy must reach (better "higher") or stay under ("lower"); None where none was set.
        limit: the same for our figure itself, where there is nothing to compare with.
    """

    name: str
    unit: str
    better: Better
    target: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """iperf3, client to server, with this many TCP streams at once."""

    streams: int

    @property
    def rows(self) -> tuple[Row, ...]:
        return (Row(f"throughput-{self.streams}", "Gbit/s", "higher", 0.6),)


# The python engine's targets for requests per second, by connections: what is lost per request matters less the more of them share a write.
REQUEST_TARGETS: Mapping[int, float] = {1: 0.7, 16: 0.8, 64: 0.9, 256: 0.9}


@dataclass(frozen=True, slots=True)
class Requests:
    """wrk with this many connections that are kept alive: requests per second and the latencies of the same run."""

    connections: int

    @property
    def rows(self) -> tuple[Row, ...]:
        return (
            Row(f"requests-{self.connections}", "requests/s", "higher", REQUEST_TARGETS[self.connections]),
            Row(f"p50-{self.connections}", "ms", "lower"),
            Row(f"p99-{self.connections}", "ms", "lower"),
        )


@dataclass(frozen=True, slots=True)
class NewConnections:
    """wrk with `Connection: close`: each request on its own connection, this many at once."""

    connections: int

    @property
    def rows(self) -> tuple[Row, ...]:
        return (Row("connections", "connections/s", "higher", 1.3),)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the proxies after the loads that came before."""

    @property
    def rows(self) -> tuple[Row, ...]:
        return (Row("memory", "MB", "lower", 1.0),)


Load = Throughput | Requests | NewConnections | Memory

# Memory last: it is what is left after all the others. 64 at once keep both cores busy without a queue at the listener.
LOADS: tuple[Load, ...] = (
    Throughput(1),
    Throughput(4),
    Requests(1),
    Requests(16),
    Requests(64),
    Requests(256),
    NewConnections(64),
    Memory(),
)

# What a large cluster takes of the control plane and of a node; bench.scale measures it. Nobody else is measured beside it.
SCALE: tuple[Row, ...] = (
    Row("scale-ready", "s", "lower", limit=60),
    Row("scale-memory", "MB", "lower", limit=1500),
    Row("scale-propagation-p99", "ms", "lower", limit=200),
    Row("scale-ztunnel-memory", "MB more", "lower", limit=10),
    Row("scale-decision", "µs", "lower", limit=200),
    Row("scale-signing", "CSRs/s/core", "higher", limit=500),
)


def select_scale(pattern: str) -> tuple[Row, ...]:
    """The rows of the large cluster whose names match the shell pattern."""
    return tuple(row for row in SCALE if fnmatch.fnmatchcase(row.name, pattern))


def select(pattern: str) -> tuple[Load, ...]:
    """The loads of which at least one row's name matches the shell pattern."""
    return tuple(load for load in LOADS if any(fnmatch.fnmatchcase(row.name, pattern) for row in load.rows))
