"""A process that knows of the mesh what a node's proxy knows: ztunnel's own discovery, with no pods and no traffic.

    python -m bench.scale.node SPEC        (a file: JSON of a Spec)

Prints its resident memory in MB once it has been told what the node needs: the policies of its pods, and the services that they talk to.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench.process import NotReady, resident_mb
from bench.scale.cluster import Cluster, hostname
from bench.scale.plane import Plane
from ztunnel.config import ControlPlaneSettings, NodeSettings
from ztunnel.discovery.client import Discovery
from ztunnel.discovery.policies import POLICIES

NODE = "node-0"
# What the pods of a node talk to: in the small cluster that is all there is.
SERVICES = 5
# The names come in well under a second; a node that still waits after this was not told.
SETTLE_S = 20.0


@dataclass(frozen=True, slots=True)
class Spec:
    """Args: root_cert, token: paths. names: that are asked for."""

    port: int
    root_cert: str
    token: str
    names: tuple[str, ...]


def memory_mb(plane: Plane, cluster: Cluster) -> float:
    """Starts such a process and returns what it has come to.

    Raises:
        NotReady: it was not told.
    """
    token, path = plane.directory / "token", plane.directory / "node.json"
    token.write_text(plane.token(NODE))
    names = tuple(hostname(service, cluster.namespaces) for service in range(SERVICES))
    path.write_text(json.dumps(asdict(Spec(plane.port, str(plane.root_cert), str(token), names))))
    command = [sys.executable, "-m", "bench.scale.node", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=4 * SETTLE_S, check=False)
    if run.returncode:
        raise NotReady(f"a node's discovery: {run.stderr[-2000:]}")
    return float(run.stdout.split()[-1])


async def know(spec: Spec) -> None:
    """Subscribes as ztunnel does, waits until everything was told, and prints."""
    endpoint = ("127.0.0.1", spec.port)
    control_plane = ControlPlaneSettings(endpoint, endpoint, "controlplane.ambient", Path(spec.root_cert), Path(spec.token), on_demand=True)
    discovery = Discovery(NodeSettings(NODE, "cluster.local", "Kubernetes", ""), control_plane, lambda: None)
    running = asyncio.create_task(discovery.run())
    names = (POLICIES, *spec.names)
    await discovery.settle(names, SETTLE_S)
    if not all(discovery.settled(name) and (name == POLICIES or discovery.store.knows(name)) for name in names):
        raise NotReady("not everything was told")
    running.cancel()
    gc.collect()
    print(resident_mb(os.getpid()))


if __name__ == "__main__":
    uvloop.run(know(Spec(**json.loads(Path(sys.argv[1]).read_text()))))
