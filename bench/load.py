"""Runs the load generators, wrk and iperf3, in a network namespace and reads what they print."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from bench.rows import NewConnections, Requests, Throughput

# Longer than any run: a run that takes this long hangs.
TIMEOUT_S = 60
UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class LoadFailed(Exception):
    """The load generator failed, or saw answers that make its figures worthless."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes.

    Args:
        enter: the command that runs a command where the client is (`ip netns exec NAME`, say).
        http, bulk: "address:port" of nginx and of iperf3, as the client dials them.
    """

    enter: tuple[str, ...]
    http: str
    bulk: str


def run(load: Throughput | Requests | NewConnections, target: Target, duration_s: int) -> Mapping[str, float]:
    """Runs one load and returns its figures by row name.

    Raises:
        LoadFailed: also when a single answer was wrong: a proxy that drops requests must not look fast.
    """
    values: tuple[float, ...]
    if isinstance(load, Throughput):
        values = (throughput_gbps(_output(iperf3(target, load.streams, duration_s))),)
    elif isinstance(load, Requests):
        values = requests(_output(wrk(target, load.connections, duration_s, keep_alive=True)))
    else:
        values = requests(_output(wrk(target, load.connections, duration_s, keep_alive=False)))[:1]
    return dict(zip((row.name for row in load.rows), values, strict=True))


def wrk(target: Target, connections: int, duration_s: int, keep_alive: bool) -> list[str]:
    """One thread: client, proxies and server share the machine, and one thread saturates all of them but nginx alone."""
    header = [] if keep_alive else ["-H", "Connection: close"]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency", *header, f"http://{target.http}/"]
    return [*target.enter, *command]


def iperf3(target: Target, streams: int, duration_s: int) -> list[str]:
    """The first second (slow start, windows that grow) is left out."""
    host, _, port = target.bulk.rpartition(":")
    command = ["iperf3", "-c", host, "-p", port, "-t", str(duration_s), "-O", "1", "-P", str(streams), "-J"]
    return [*target.enter, *command]


def throughput_gbps(output: str) -> float:
    """Gbit/s that arrived at the server, from iperf3's JSON."""
    report = json.loads(output)
    if "error" in report:
        raise LoadFailed(f"iperf3: {report['error']}")
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def requests(output: str) -> tuple[float, float, float]:
    """Requests per second, and the 50th and 99th percentile of their latency in ms, from what wrk printed."""
    for trouble in ("Socket errors", "Non-2xx"):
        if trouble in output:
            raise LoadFailed(next(line.strip() for line in output.splitlines() if trouble in line))
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", output, re.MULTILINE)
    latencies = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", output, re.MULTILINE))
    if not rate or len(latencies) != 2:
        raise LoadFailed(f"wrk printed no figures: {output[-300:]!r}")
    return float(rate[1]), _milliseconds(latencies["50"]), _milliseconds(latencies["99"])


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNIT_MS[unit]


def _output(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode and not result.stdout.startswith("{"):
        raise LoadFailed(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout
