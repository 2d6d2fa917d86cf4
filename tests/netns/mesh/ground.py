"""A lab with the mesh, and pods that a test acts in: its sockets are made in their network namespaces."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from lab import api
from lab.api import Lab
from lab.layout import Layout
from lab.netns import inside
from lab.options import Options
from tests.netns.mesh.manifests import APP_PORT, SERVICE, SERVICE_PORT

# Nothing here takes longer on a busy machine; what waits longer has failed.
PATIENCE_S = 20.0
_UP_TIME_LIMIT_S = 90.0
_POLL_S = 0.02
ADMIN_PORT, METRICS_PORT = 15000, 15020
FAMILIES = (socket.AF_INET, socket.AF_INET6)


def until(holds: Callable[[], object], words: str, patience_s: float = PATIENCE_S) -> None:
    """Asks again until it is so: across processes there is nothing to wait on."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"not so after {patience_s:g} s: {words}"
        time.sleep(_POLL_S)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere with a network namespace and addresses: a pod, or a node."""

    name: str
    node: str
    netns: str
    addresses: tuple[str, str]
    identity: str = ""
    uid: str = ""

    def address(self, family: socket.AddressFamily) -> str:
        return self.addresses[FAMILIES.index(family)]

    def open(self, family: socket.AddressFamily, kind: socket.SocketKind = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A socket that lives here, and waits PATIENCE_S at most."""
        made = inside(self.netns, lambda: socket.socket(family, kind, protocol))
        made.settimeout(PATIENCE_S)
        return made

    def connect(self, address: str, port: int) -> socket.socket:
        """Raises OSError: nobody takes the connection."""
        made = self.open(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            made.connect((address, port))
        except OSError:
            made.close()
            raise
        return made

    def listen(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        """A listener on a free port of this place's own address."""
        made = self.open(family)
        made.bind((self.address(family), 0))
        made.listen()
        return made


class Talk:
    """A connection with the app (app.py): it has been greeted, and whatever it says comes back."""

    def __init__(self, connected: socket.socket) -> None:
        """Raises OSError: the connection ends before the greeting is there."""
        self.connection = connected
        self.server, self.seen_address = self._greeting()

    def _greeting(self) -> tuple[str, str]:
        greeting = bytearray()
        try:
            while not greeting.endswith(b"\n"):
                greeting += receive(self.connection, 1)
        except OSError:
            self.connection.close()
            raise
        server, address = greeting.decode().split()
        return server, address

    def ask(self, text: bytes) -> bytes:
        """Raises OSError: it ended before the whole answer was there."""
        self.connection.sendall(text)
        return receive(self.connection, len(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def text(address: tuple[Any, ...]) -> str:
    """A socket's address as logs and authorities have it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def receive(connected: socket.socket, count: int) -> bytes:
    """Raises ConnectionError: the other end closed before so many bytes were there."""
    data = bytearray()
    while len(data) < count:
        part = connected.recv(count - len(data))
        if not part:
            raise ConnectionError(f"closed after {len(data)} of {count} bytes")
        data += part
    return bytes(data)


class Log:
    """What a process writes (LOG_FORMAT=json) from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    def records(self) -> list[dict[str, Any]]:
        with self._path.open("rb") as file:
            file.seek(self._start)
            lines = file.read().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}\n")]

    def find(self, **fields: str | int) -> list[dict[str, Any]]:
        """The records with these fields; src_addr stands for src.addr, and so on."""
        wanted = {name.replace("src_", "src.").replace("dst_", "dst."): value for name, value in fields.items()}
        return [one for one in self.records() if wanted.items() <= one.items()]

    def expect(self, **fields: str | int) -> dict[str, Any]:
        """Waits for such a record."""
        until(lambda: self.find(**fields), f"{self._path.name} of {self._path.parent.name} has a line with {fields}")
        return self.find(**fields)[0]


@contextlib.contextmanager
def mesh_of(name: str, files: Mapping[str, str], *, capture: str = "ebpf", nodes: int = 2, **settings: str) -> Iterator["Mesh"]:
    """A lab of these manifests that is gone afterwards, whatever happens."""
    layout = Layout(name)
    try:
        options = Options(nodes, capture, settings={"LOG_FORMAT": "json", **settings})
        yield Mesh(api.up(layout, options, files, time_limit_s=_UP_TIME_LIMIT_S), capture)
    finally:
        api.down(layout)


class Mesh:
    """The lab of one capture mode."""

    def __init__(self, lab: Lab, capture: str) -> None:
        self.lab = lab
        self.capture = capture
        status = lab.status()
        self._pods = {f"{one['namespace']}/{one['name']}": self._place(one) for one in status["pods"]}
        self._services = {f"{one['namespace']}/{one['name']}": tuple(one["ips"]) for one in status["services"]}
        self._markers = itertools.count()

    def _place(self, pod: dict[str, Any]) -> Place:
        netns = self.lab.layout.pod_netns(pod["namespace"], pod["name"])
        return Place(f"{pod['namespace']}/{pod['name']}", pod["node"], netns, tuple(pod["ips"]), pod["identity"], pod["uid"])

    def pod(self, namespace: str, name: str) -> Place:
        return self._pods[f"{namespace}/{name}"]

    def service_address(self, namespace: str, family: socket.AddressFamily) -> str:
        return self._services[f"{namespace}/{SERVICE}"][FAMILIES.index(family)]

    def talk(self, client: Place, server: Place, family: socket.AddressFamily = socket.AF_INET, port: int = APP_PORT) -> Talk:
        """Connects a pod with another pod's app."""
        return Talk(client.connect(server.address(family), port))

    def talk_to_service(self, client: Place, namespace: str, family: socket.AddressFamily = socket.AF_INET) -> Talk:
        return Talk(client.connect(self.service_address(namespace, family), SERVICE_PORT))

    def log(self, node: str, program: str = "ztunnel") -> Log:
        return Log(self.lab.layout.process_log(program, None if program == "controlplane" else node))

    def node_netns(self, node: str) -> str:
        return self.lab.layout.node_netns(node)

    def get(self, node: str, port: int, path: str) -> str:
        """What a program of a node answers. Raises OSError: it does not."""

        def ask() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            try:
                connection.request("GET", path)
                answer: bytes = connection.getresponse().read()
                return answer.decode()
            finally:
                connection.close()

        return inside(self.node_netns(node), ask)

    def metric(self, node: str, name: str, **labels: str) -> float:
        """The sum of a ztunnel's samples of that name with these labels."""
        families = text_string_to_metric_families(self.get(node, METRICS_PORT, "/metrics"))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def process(self, node: str, program: str) -> int:
        """The process id of a program of the mesh; 0 while it does not run."""
        directory = self.lab.layout.controlplane if program == "controlplane" else self.lab.layout.node(node)
        try:
            return int((directory / f"{program}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def kill(self, node: str, program: str) -> int:
        """Kills a program as a crash would; returns the process that is no more."""
        victim = self.process(node, program)
        os.kill(victim, signal.SIGKILL)
        return victim

    def mesh_states(self, namespace: str) -> set[str]:
        return {pod["mesh"] for pod in self.lab.status()["pods"] if pod["namespace"] == namespace}
