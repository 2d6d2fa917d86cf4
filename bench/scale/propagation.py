"""How long an endpoint's change takes from its file to every node that is subscribed to its service."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bench.process import NotReady
from bench.scale.cluster import hostname, namespace, write_list
from bench.scale.plane import Plane
from bench.scale.watchers import Spec

# As many as the limit of this row speaks of.
NODES = 100
# 2,000 samples: the slowest twenty are beyond the 99th percentile.
CHANGES = 20
# Any of them: they are all alike.
SERVICE = 7


def p99_ms(plane: Plane, manifests: Path) -> float:
    """Changes an endpoint's health again and again, each time when the last change has arrived everywhere.

    Raises:
        NotReady: a node was not told.
    """
    tokens = tuple(plane.token(f"node-{number}") for number in range(NODES))
    spec = plane.directory / "watchers.json"
    spec.write_text(Spec(plane.address, str(plane.root_cert), tokens, hostname(SERVICE)).to_json())
    file = manifests / f"{namespace(SERVICE)}.json"
    objects = json.loads(file.read_text())["items"]
    endpoint = next(one for one in objects if one["kind"] == "Pod" and one["metadata"]["labels"]["app"] == f"service-{SERVICE}")
    with subprocess.Popen([sys.executable, "-m", "bench.scale.watchers", spec], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise NotReady("the nodes were not told of the service")
            delays = [delay for turn in range(CHANGES) for delay in _change(file, objects, endpoint, turn, process.stdout)]
        finally:
            process.terminate()
    return statistics.quantiles(delays, n=100)[98] * 1000


def _change(file: Path, objects: list[dict[str, Any]], endpoint: dict[str, Any], turn: int, lines: IO[str]) -> Iterator[float]:
    """Writes the file and yields how long it took until each node had the change."""
    endpoint["status"]["conditions"][0]["status"] = str(turn % 2 == 1)
    write_list(file, iter(objects))
    written = time.monotonic()
    for _ in range(NODES):
        line = lines.readline()
        if not line:
            raise NotReady("a node's stream ended")
        yield float(line) - written
