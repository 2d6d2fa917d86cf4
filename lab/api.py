"""The lab as functions: what the command line, the tests and the benchmarks use."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.addresses import node_names
from lab.cluster import empty_cluster
from lab.control import Say, request
from lab.edits import apply_files
from lab.errors import LabError
from lab.layout import Layout
from lab.lifeline import in_netns
from lab.netns import netns_path
from lab.options import Options
from lab.preflight import require
from lab.teardown import is_alive, tear_down

# Everything of a lab of two nodes is there in some seconds; a machine busy with tests needs longer.
DEFAULT_TIME_LIMIT_S = 60.0
# Whoever types a command waits for the daemon's socket no longer than needed.
_DAEMON_POLL_S = 0.02


def _say_nothing(text: str) -> None:
    """Progress goes nowhere."""


@dataclass(frozen=True, slots=True)
class PodProcess:
    """A way into a running pod.

    Args:
        pid: its runner, whose namespaces are the pod's.
        env, directory: of its first container.
    """

    pid: int
    netns: str
    node: str
    env: Mapping[str, str]
    directory: str

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the pod's namespaces; give it `env` too."""
        enter = ["/usr/bin/nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", f"--wd={self.directory}", "--"]
        return [*enter, *argv]


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up. Every call raises LabError when it is not, or refuses."""

    layout: Layout

    def status(self) -> dict[str, Any]:
        """What `ambient lab status --json` prints."""
        document: dict[str, Any] = self._ask({"op": "status"})
        return document

    def wait(self, time_limit_s: float = DEFAULT_TIME_LIMIT_S, say: Say = _say_nothing) -> None:
        """Waits until all pods are ready, and captured or not as their labels say."""
        self._ask({"op": "wait", "time_limit_s": time_limit_s}, say)

    def apply(self, files: Mapping[str, str], *, prune: bool = False) -> None:
        """Applies manifests (text by file name); returns when their pods were started, which `wait` waits for."""
        self._ask({"op": "apply", "files": dict(files), "prune": prune})

    def delete(self, files: Mapping[str, str]) -> None:
        """Deletes the objects that the manifests name; returns when their pods have ended."""
        self._ask({"op": "delete", "files": dict(files)})

    def delete_object(self, kind: str, name: str) -> None:
        """Deletes one object ("name" of namespace default, or "namespace/name"); returns when its pods have ended."""
        self._ask({"op": "delete object", "kind": kind, "name": name})

    def stop_program(self, name: str) -> None:
        """Kills a program of the mesh ("controlplane", "ztunnel of node1"), which stays away until it is started again."""
        self._ask({"op": "stop program", "name": name})

    def start_program(self, name: str) -> None:
        """Runs a program again that was stopped; returns before it is ready."""
        self._ask({"op": "start program", "name": name})

    def rotate_root(self) -> None:
        """Asks the certificate authority for a new root; returns at once."""
        self._ask({"op": "rotate root"})

    def revoke(self, serial: str) -> None:
        """Revokes a certificate by its serial, hexadecimal; returns before the nodes know."""
        self._ask({"op": "revoke", "serial": serial})

    def serial_of(self, pod: str) -> str:
        """The serial of the certificate that a pod ("name" of namespace default, or "namespace/name") proves its identity with now."""
        namespace, _, short = pod.rpartition("/")
        serial: str = self._ask({"op": "serial", "namespace": namespace or "default", "name": short})
        return serial

    def label(self, kind: str, name: str, changes: Mapping[str, str | None]) -> None:
        """Sets labels of an object ("name" of namespace default, or "namespace/name"); None takes one away."""
        self._ask({"op": "label", "kind": kind, "name": name, "changes": dict(changes)})

    def pod(self, name: str) -> PodProcess:
        """The pod "name" of namespace default, or "namespace/name"."""
        namespace, _, short = name.rpartition("/")
        return PodProcess(**self._ask({"op": "pod", "namespace": namespace or "default", "name": short}))

    def run(self, pod: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a command in a pod to its end; `options` are those of subprocess.run. Its output is captured, as text."""
        target = self.pod(pod)
        env = {**target.env, **options.pop("env", {})}
        return subprocess.run(target.command(argv), check=False, env=env, **{"capture_output": True, "text": True, **options})

    def start(self, pod: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Starts a command in a pod; `options` are those of subprocess.Popen."""
        target = self.pod(pod)
        return subprocess.Popen(target.command(argv), env={**target.env, **options.pop("env", {})}, **options)

    def node_command(self, node: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in a node's network namespace."""
        return [*in_netns(netns_path(self.layout.node_netns(node))), *argv]

    def _ask(self, question: Mapping[str, object], say: Say = _say_nothing) -> Any:
        require(None)
        if not is_alive(self.layout):
            left = "; what a crash left of it goes with `ambient lab down`" if self.layout.root.exists() else ""
            raise LabError(f"the lab {self.layout.name} is not up: `ambient lab up`{left}")
        return request(self.layout.control_socket, question, say, self.layout.daemon_log)


def up(
    layout: Layout,
    options: Options,
    files: Mapping[str, str],
    say: Say = _say_nothing,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Lab:
    """Brings a lab up and returns when everything in it is ready; what a crash left behind is removed first.

    Raises:
        LabError: the machine lacks something, the lab is up already, or something did not get ready. Nothing is left behind then.
        ConfigErrors: a manifest is wrong; nothing was started.
    """
    require(options)
    apply_files(files)(empty_cluster(node_names(options.nodes)))
    with _alone(layout):
        if is_alive(layout):
            raise LabError(f"the lab {layout.name} is up already; `ambient lab status` shows it, `ambient lab down` ends it")
        if tear_down(layout):
            say("removed what a lab that crashed had left behind")
        try:
            _start_daemon(layout)
            question = {"op": "start", "options": asdict(options), "files": dict(files), "time_limit_s": time_limit_s}
            request(layout.control_socket, question, say, layout.daemon_log)
        except BaseException:
            tear_down(layout)
            raise
    return Lab(layout)


def down(layout: Layout) -> bool:
    """Takes a lab down, in whatever state it is; returns whether there was anything of it."""
    require(None)
    with _alone(layout):
        return tear_down(layout)


def read_manifests(path: Path) -> dict[str, str]:
    """The text of a file of manifests, or of every *.yaml and *.yml of a directory, by name; "-" is standard input.

    Raises:
        LabError: there is nothing to read.
    """
    if str(path) == "-":
        return {"standard input": sys.stdin.read()}
    try:
        paths = sorted(one for one in path.iterdir() if one.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        files = {str(one): one.read_text() for one in paths}
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"cannot read {path}: {error}") from error
    if not files:
        raise LabError(f"{path}: no *.yaml in it")
    return files


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Keeps others from bringing the same lab up or down; the kernel forgets a lock of this kind when its holder dies."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(f"\0ambient-lab/{layout.name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise LabError(f"another command is bringing the lab {layout.name} up or down") from error
        yield


def _start_daemon(layout: Layout) -> None:
    """Returns when the daemon listens."""
    layout.root.mkdir(mode=0o700)
    layout.logs.mkdir()
    with layout.daemon_log.open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "lab.daemon", layout.name],
            cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    while not layout.control_socket.exists():
        if daemon.poll() is not None:
            raise LabError("the lab's daemon ended at once", layout.daemon_log)
        time.sleep(_DAEMON_POLL_S)
