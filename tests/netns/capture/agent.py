"""The agent as a process of its own, with a directory of manifests and one of namespaces, and a ztunnel that it enrols pods with."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from daemonset.capture.items import Mode
from mesh.wire import zds_pb2 as pb
from tests.netns.capture.ground import BPFFS, Ground
from tests.netns.capture.ztunnel import Ztunnel

NODE = "node-1"
UID = "0b6f7c1e-aaaa-4bbb-8ccc-000000000001"


class AgentProcess:
    """Starts and stops agents over the same directories. A context manager that kills what runs at the end."""

    def __init__(self, directory: Path, ground: Ground, mode: Mode) -> None:
        self._directory, self._ground, self._mode = directory, ground, mode
        self.manifests, self.netns = directory / "manifests", directory / "netns"
        self.manifests.mkdir()
        self.netns.mkdir()
        self.socket_path = directory / "zds.sock"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.pins = ground.site.pins / NODE / UID
        self._process: subprocess.Popen[bytes] | None = None
        (self.netns / UID).symlink_to(f"/run/netns/{ground.pod.name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        env = {
            **os.environ,
            "NODE_NAME": NODE,
            "MANIFESTS_DIR": str(self.manifests),
            "POD_NETNS_DIR": str(self.netns),
            "INPOD_UDS": str(self.socket_path),
            "CAPTURE": self._mode.value,
            "BPFFS": str(BPFFS / self._ground.site.pins.name),
            "READINESS_ADDR": f"127.0.0.1:{self._port}",
        }
        with (self._directory / "agent.log").open("ab") as log:
            command = [sys.executable, "-c", "import sys; from daemonset.main import main; sys.exit(main())"]
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: self._get("/healthz/ready") is not None, self.log)

    def log(self) -> str:
        return (self._directory / "agent.log").read_text()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(10)
        self._process = None
        return status

    def label(self, mode: str) -> None:
        """Writes the manifests, the namespace labelled so, as an editor would: a new file in the old one's place."""
        text = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: default, labels: {{istio.io/dataplane-mode: {mode}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: default, uid: {UID}}}
spec: {{nodeName: {NODE}, containers: [{{name: web, image: web}}]}}
status: {{phase: Running, podIP: {self._ground.pod.ipv4}, podIPs: [{{ip: {self._ground.pod.ipv4}}}, {{ip: "{self._ground.pod.ipv6}"}}]}}
"""
        temporary = self._directory / "new"
        temporary.write_text(text)
        temporary.replace(self.manifests / "all.yaml")

    def pods(self) -> list[dict[str, Any]]:
        return json.loads(self._get("/pods") or "[]")

    def captured(self) -> bool:
        return [pod["captured"] for pod in self.pods()] == [True]

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.read()
        except OSError:
            return None


def wait_until(condition, explain, timeout_s: float = 10.0) -> float:
    """Waits until the condition holds; returns how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, explain()
        time.sleep(0.01)
    return time.monotonic() - started


class ZdsZtunnel:
    """A Ztunnel that the agent tells which pods to serve: one listener set, opened when the pod is added."""

    def __init__(self, path: Path, ztunnel: Ztunnel) -> None:
        self._path, self._ztunnel = path, ztunnel
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.settimeout(0.05)
                try:
                    connection.connect(str(self._path))
                    connection.send(pb.ZdsHello(version=pb.V1).SerializeToString())
                    self._converse(connection)
                except OSError:
                    time.sleep(0.02)

    def _converse(self, connection: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                packet, fds, _, _ = socket.recv_fds(connection, 4096, 4)
            except TimeoutError:
                continue
            if not packet:
                return
            request = pb.WorkloadRequest.FromString(packet)
            kind = request.WhichOneof("payload")
            if kind == "add":
                assert len(fds) == 1
                self._ztunnel.ensure_listening()
            for fd in fds:
                os.close(fd)
            self.heard.append(kind)
            connection.send(pb.WorkloadResponse(ack=pb.Ack()).SerializeToString())
