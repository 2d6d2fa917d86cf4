"""A whole cluster: up, down, and what there is of it."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from tests.cluster import journal
from tests.cluster.control_plane import start_control_plane
from tests.cluster.images import load_basics
from tests.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.layout import MAX_CLUSTERS, Layout, Node
from tests.cluster.node import CGROUPS, start_node
from tests.cluster.processes import until
from tests.cluster.programs import COREDNS, KUBERNETES, programs
from tests.cluster.teardown import tear_down

_EEXIST = 17
# Names of namespaces and control groups begin with it.
_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
_DNS = Path(__file__).parent / "coredns.yaml"


class Unusable(Exception):
    """This machine cannot run a cluster, or not this one: with what to do."""


@dataclass(frozen=True, slots=True)
class Cluster:
    layout: Layout
    kubectl: Kubectl

    def kill(self, node: Node, program: str) -> None:
        """Kills every process of a node that runs a program of this name, as a crash would; none may run there."""
        init = journal.processes(self.layout)[node.name].pid
        # `unshare` waits in this machine's namespaces for the node's first process, which is its only child.
        first = Path(f"/proc/{init}/task/{init}/children").read_text().split()[0]
        command = ["nsenter", f"--target={first}", "--pid", "--mount", "pkill", "-KILL", "-f", f"(^|/){program}( |$)"]
        subprocess.run(command, check=False, capture_output=True)


def up(name: str, node_count: int = 2) -> Cluster:
    """Starts a cluster and waits until its nodes are ready and its DNS answers.

    Raises:
        Unusable: it is there already, or the machine lacks something.
        BuildFailed, NotReady, KubectlFailed: it does not come up; what there is stays to be looked at, until `down`.
    """
    _check(name, node_count)
    binaries, coredns = programs(KUBERNETES), programs(COREDNS) / "coredns"
    began = time.monotonic()
    layout = _reserve(name, node_count)
    layout.logs.mkdir()
    authority = start_control_plane(layout, binaries)
    _say(began, f"API server {KUBERNETES.version} at {layout.api}")
    for node in layout.nodes:
        start_node(layout, node, authority, binaries)
    load_basics(layout, coredns)
    kubectl = Kubectl(binaries, layout.kubeconfig)
    until(lambda: _ready_nodes(kubectl) == node_count, f"{node_count} nodes are ready", layout, layout.nodes[0].name)
    _say(began, f"{node_count} nodes are ready")
    kubectl("apply", "-f", str(_DNS))
    kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=120s")
    _say(began, "DNS answers")
    return Cluster(layout, kubectl)


def find(name: str) -> Cluster | None:
    """The cluster of this name, in whatever state it is."""
    layout = journal.known(name)
    return Cluster(layout, Kubectl(programs(KUBERNETES), layout.kubeconfig)) if layout is not None else None


def down(name: str) -> bool:
    """Leaves nothing of the cluster; returns whether there was anything. Works after any crash."""
    layout = journal.known(name)
    if layout is None:
        return False
    tear_down(layout)
    return True


def _check(name: str, node_count: int) -> None:
    if not _NAME.fullmatch(name):
        raise Unusable(f"{name!r} is no name: a letter, then up to 7 small letters and digits")
    if not 1 <= node_count <= 9:
        raise Unusable("a cluster has 1 to 9 nodes")
    if journal.known(name) is not None:
        raise Unusable(f"there is a cluster {name}, or the rest of one: python -m tests.cluster down --name {name}")
    if not (CGROUPS / "cpuset").is_dir():
        raise Unusable(f"nodes need the controllers of cgroup v1 below {CGROUPS}: this machine has version 2 alone")


def _reserve(name: str, node_count: int) -> Layout:
    """Makes the bridge: whoever makes it has its number."""
    with IPRoute() as ip:
        for index in range(MAX_CLUSTERS):
            layout = Layout(name, index, node_count)
            try:
                ip.link("add", ifname=layout.bridge, kind="bridge")
            except NetlinkError as error:
                if error.code != _EEXIST:
                    raise
                continue
            journal.begin(layout)
            bridge = ip.link_lookup(ifname=layout.bridge)[0]
            for address, length in zip(layout.host_addresses, (24, 64), strict=True):
                ip.addr("add", index=bridge, address=address, prefixlen=length)
            ip.link("set", index=bridge, state="up")
            return layout
    raise Unusable(f"{MAX_CLUSTERS} clusters are there already")


def _ready_nodes(kubectl: Kubectl) -> int:
    try:
        nodes = kubectl.get("nodes")["items"]
    except KubectlFailed:
        return 0
    conditions = [condition for node in nodes for condition in node["status"].get("conditions", ())]
    return sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _say(began: float, what: str) -> None:
    print(f"[{time.monotonic() - began:5.1f} s] {what}", file=sys.stderr, flush=True)
