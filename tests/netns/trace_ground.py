"""Two pods without a mesh, laid out as a lab, and `ambient trace` running over them."""

import contextlib
import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pyroute2 import netns

from ebpf.observe.events import socket_address

CLIENT, SERVER = "10.98.0.1", "10.98.0.2"
CLIENT6, SERVER6 = "fd98::1", "fd98::2"
IP_TRANSPARENT = 19  # of linux/in.h; the socket module does not name it
# Compiling takes half a second; the machine is shared.
TIMEOUT_S = 60
ROOT = Path(__file__).parents[2]

_POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, uid: {name}-uid}}
spec: {{nodeName: one, containers: [{{name: main, image: any}}]}}
status: {{phase: Running, podIPs: [{{ip: "{ipv4}"}}, {{ip: "{ipv6}"}}]}}
---
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


@dataclass(frozen=True, slots=True)
class Ground:
    """The namespaces `<lab>-client` and `<lab>-server`, pods shop/client and shop/server of the lab."""

    lab: str

    def netns(self, pod: str) -> str:
        return f"{self.lab}-{pod}"

    def inode(self, pod: str) -> int:
        return Path(f"/run/netns/{self.netns(pod)}").stat().st_ino

    def inside(self, pod: str, make: Callable[[], socket.socket]) -> socket.socket:
        """What `make` returns, with the socket that it makes in the pod's namespace."""
        made: list[socket.socket | OSError] = []

        def body() -> None:
            netns.setns(self.netns(pod), flags=0)
            try:
                made.append(make())
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def listen(self, pod: str, address: str, port: int = 0, mark: int = 0) -> socket.socket:
        """A listener; of "::" for both families, with a mark like ztunnel's."""

        def make() -> socket.socket:
            listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            listener.settimeout(TIMEOUT_S)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if mark:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            listener.bind((address, port))
            listener.listen(1000)
            return listener

        return self.inside(pod, make)

    def connect(self, pod: str, address: tuple[str, int], timeout_s: float = TIMEOUT_S) -> socket.socket:
        return self.inside(pod, lambda: socket.create_connection(address, timeout_s))

    def pair(self, address: str = SERVER, bound: str | None = None) -> tuple[socket.socket, socket.socket]:
        """A connection from the client to an address of the server: its two ends. The listener is bound to `bound`."""
        with self.listen("server", bound or address) as listener:
            client = self.connect("client", (address, listener.getsockname()[1]))
            server, _ = listener.accept()
        server.settimeout(TIMEOUT_S)
        return client, server

    def ip(self, pod: str, *arguments: str) -> None:
        run("ip", "-n", self.netns(pod), *arguments)

    def rule(self, pod: str, *rule: str) -> None:
        """Adds an iptables rule, which goes with the namespace."""
        run("ip", "netns", "exec", self.netns(pod), "iptables", "-w", *rule)


@contextlib.contextmanager
def make_ground(lab: str) -> Iterator[Ground]:
    """Makes namespaces and the lab's directory; removes them at the end, whatever happens."""
    ground, directory = Ground(lab), Path(f"/run/ambient-{lab}")
    client, server = ground.netns("client"), ground.netns("server")
    try:
        for name in (client, server):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", "eth0", "netns", client, "type", "veth", "peer", "name", "eth0", "netns", server)
        pods = (("client", CLIENT, CLIENT6), ("server", SERVER, SERVER6))
        for pod, ipv4, ipv6 in pods:
            for address in (f"{ipv4}/24", f"{ipv6}/64"):
                run("ip", "-n", ground.netns(pod), "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            run("ip", "-n", ground.netns(pod), "link", "set", "eth0", "up")
        (directory / "manifests").mkdir(parents=True)
        links = directory / "nodes/one/netns"
        links.mkdir(parents=True)
        (directory / "manifests/pods.yaml").write_text(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
            + "".join(_POD.format(name=pod, ipv4=ipv4, ipv6=ipv6) for pod, ipv4, ipv6 in pods)
        )
        for pod, _, _ in pods:
            (links / f"{pod}-uid").symlink_to(f"/run/netns/{ground.netns(pod)}")
        yield ground
    finally:
        for name in (client, server):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(directory, ignore_errors=True)


class Trace:
    """`ambient trace` as a process of its own; with JSON, its lines are read until one is found."""

    def __init__(self, ground: Ground, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from cli.trace import trace; trace()", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "AMBIENT_LAB": ground.lab},
            cwd=ROOT,
        )
        self.lines: list[dict[str, Any]] = []
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for(self, **wanted: object) -> dict[str, Any]:
        """The first line with these fields, of those that came and those that come."""
        return self.wait_until(lambda lines: next((line for line in lines if wanted.items() <= line.items()), None), str(wanted))

    def wait_until(self, find: Callable[[list[dict[str, Any]]], dict[str, Any] | None], what: str) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT_S
        while (found := find(self.lines)) is None:
            assert time.monotonic() < end, f"no {what} in {self.lines}"
            self._read(end - time.monotonic())
        return found

    def _read(self, timeout_s: float) -> None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return
        chunk = os.read(self.process.stdout.fileno(), 1 << 16)
        assert chunk, f"the trace ended: {self.process.stderr.read().decode() if self.process.stderr else ''}"
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.lines += map(json.loads, lines)


def text(sock: socket.socket) -> str:
    """The local address of a socket, as a trace prints it."""
    return str(socket_address(*sock.getsockname()[:2]))


def reset(sock: socket.socket) -> None:
    """Ends a connection with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
