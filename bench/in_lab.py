"""The three modes in the lab: the same two pods, the same nginx, unlabelled, with a pair of Envoys, and labelled."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from bench import nginx, proxies
from bench.alternate import Mode
from bench.load import LoadFailed, Target
from bench.proxies import Places
from lab import api
from lab.api import Lab
from lab.layout import Layout
from lab.options import Options

NAMESPACE = "bench"
HTTP_PORT, BULK_PORT = 80, 5201
# A load of new connections uses up the client's 28,000 ports in seconds, and then measures the kernel's search for a free one. Linux allows
# reuse by default on loopback, where only Envoy's clients connect; so it is allowed everywhere.
REUSE_PORTS = "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse"
LABEL = "istio.io/dataplane-mode"
# Not the default name: a lab that someone works in stays as it is.
LAYOUT = Layout("bench")


@contextlib.contextmanager
def modes(names: list[str], capture: str) -> Iterator[list[Mode]]:
    """Brings the lab up with everything that the modes need, and takes it down at the end.

    Raises:
        lab.errors.LabError: the lab cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        configuration = directory / "nginx.conf"
        configuration.write_text(nginx.configuration(directory, HTTP_PORT))
        stack.callback(api.down, LAYOUT)
        lab = api.up(LAYOUT, Options(capture=capture, mesh="ours" in names), {"bench.yaml": manifests(configuration)})
        for pod in ("client", "server"):
            lab.run(f"{NAMESPACE}/{pod}", ["sh", "-c", REUSE_PORTS]).check_returncode()
        yield [stack.enter_context(_mode(one, lab, directory)) for one in names]


def expect_tunnelled() -> None:
    """Fails a measurement of ours in which the load went around the mesh: captured in name, and nothing in ztunnel's log.

    Raises:
        LoadFailed: the client's ztunnel opened no tunnel to the server.
    """
    log = LAYOUT.process_log("ztunnel", "node1").read_text()
    if "dst.hbone_addr=" not in log:
        raise LoadFailed("the load of ours did not go through a tunnel: no such line in the log of the client's ztunnel")


def manifests(nginx_configuration: Path) -> str:
    """A client on one node; on the other a server pod with nginx and iperf3."""
    server = [
        {"name": "nginx", "command": ["nginx", "-c", str(nginx_configuration)]},
        {"name": "iperf3", "command": ["iperf3", "-s", "-p", str(BULK_PORT)]},
    ]
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *(_object("ServiceAccount", name) for name in ("client", "server")),
        _pod("client", "node1", [{"name": "client", "command": ["sleep", "infinity"]}]),
        _pod("server", "node2", server),
    ]
    return yaml.safe_dump_all(documents)


def _object(kind: str, name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def _pod(name: str, node: str, containers: Sequence[Mapping[str, object]]) -> dict[str, object]:
    spec = {"nodeName": node, "serviceAccountName": name, "terminationGracePeriodSeconds": 1, "containers": list(containers)}
    return {**_object("Pod", name), "spec": spec}


@contextlib.contextmanager
def _mode(name: str, lab: Lab, directory: Path) -> Iterator[Mode]:
    enter = tuple(lab.pod(f"{NAMESPACE}/client").command([]))
    address = _address(lab, "server")
    direct = Target(enter, f"{address}:{HTTP_PORT}", f"{address}:{BULK_PORT}")
    if name == "none":
        yield Mode(name, direct, (), lambda: _enrol(lab, False))
    elif name == "ours":
        yield Mode(name, direct, tuple(_ztunnel(node) for node in ("node1", "node2")), lambda: _enrol(lab, True))
    else:
        places = Places(enter, lab.pod(f"{NAMESPACE}/server").command([]), address, directory)
        with proxies.envoys(places, proxies.write_credentials(directory), HTTP_PORT, BULK_PORT) as pids:
            loopback = Target(enter, f"127.0.0.1:{proxies.HTTP_PORT}", f"127.0.0.1:{proxies.BULK_PORT}")
            yield Mode(name, loopback, pids, lambda: _enrol(lab, False))


def _enrol(lab: Lab, wanted: bool) -> None:
    """Labels the namespace or takes the label away, and waits until the pods are captured or released."""
    lab.label("namespace", NAMESPACE, {LABEL: "ambient" if wanted else None})
    lab.wait()


def _address(lab: Lab, pod: str) -> str:
    """The pod's IPv4 address."""
    ips = next(one["ips"] for one in lab.status()["pods"] if (one["namespace"], one["name"]) == (NAMESPACE, pod))
    return next(str(ip) for ip in ips if ":" not in ip)


def _ztunnel(node: str) -> int:
    return int((LAYOUT.node(node) / "ztunnel.pid").read_text())
