"""A node in a namespace with a control plane and a ztunnel as processes, a pod in another, and an agent that the test plays."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.wire import zds_pb2 as zds

# Nothing here takes longer on a busy machine; what waits longer has failed.
PATIENCE_S = 30.0
NODE_IP, POD_IP, STRANGER_IP = "10.9.0.1", "10.9.0.2", "10.9.1.1"
SERVICE_IP = "10.96.0.7"
# Source: linux/sched.h.
CLONE_NEWNET = 0x40000000
POD_UID = "0b6e0f0e-0000-4000-8000-000000000001"


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _setns(fd: int) -> None:
    """Moves this thread; os.setns comes with Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def entered(netns: str) -> Iterator[None]:
    """What is opened inside belongs to the namespace, whoever uses it later."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{netns}", os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(home)
        os.close(there)


class Ground:
    """The namespaces: `node` and `pod`, joined by a veth; the pod's TCP goes to its port 15001."""

    def __init__(self, directory: Path) -> None:
        prefix = f"ztp{os.getpid()}-{os.urandom(2).hex()}"
        self.node, self.pod = f"{prefix}-node", f"{prefix}-pod"
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self._token_key = ec.generate_private_key(ec.SECP256R1())

    def lay(self) -> None:
        for netns in (self.node, self.pod):
            run("ip", "netns", "add", netns)
            run("ip", "-n", netns, "link", "set", "lo", "up")
        run("ip", "-n", self.node, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.pod)
        for netns, ip in ((self.node, NODE_IP), (self.pod, POD_IP)):
            run("ip", "-n", netns, "address", "add", f"{ip}/24", "dev", "eth0")
            run("ip", "-n", netns, "link", "set", "eth0", "up")
        run("ip", "-n", self.node, "address", "add", f"{STRANGER_IP}/32", "dev", "lo")
        run("ip", "-n", self.pod, "route", "add", "default", "via", NODE_IP)
        rule = "-p tcp ! -d 127.0.0.0/8 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001"
        run("ip", "netns", "exec", self.pod, "iptables", "-t", "nat", "-A", "OUTPUT", *rule.split())

    def clear(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for netns in (self.node, self.pod):
            subprocess.run(("ip", "netns", "delete", netns), check=False, capture_output=True)

    def start(self, program: str, log: str, **env: str) -> subprocess.Popen[bytes]:
        """Starts a process of ours in the node's namespace; its output goes to the file `log` through a pipe, as containers have it."""
        with (self.directory / log).open("wb") as file:
            command = ("ip", "netns", "exec", self.node, str(Path(sys.executable).parent / program))
            keeper = subprocess.Popen((shutil.which("cat") or "cat",), stdin=subprocess.PIPE, stdout=file)
            process = subprocess.Popen(command, stdout=keeper.stdin, stderr=subprocess.STDOUT, env={**os.environ, **env})
            assert keeper.stdin is not None
            keeper.stdin.close()
        self.processes += [process, keeper]
        return process

    def text(self, log: str) -> str:
        return (self.directory / log).read_text()

    def manifests(self) -> None:
        ambient = {"istio.io/dataplane-mode": "ambient"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": "shop", "uid": POD_UID, "labels": {"app": "client"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "buyer", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIP": POD_IP, "conditions": [{"type": "Ready", "status": "True"}]},
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "empty", "namespace": "shop"},
            "spec": {"clusterIP": SERVICE_IP, "selector": {"app": "nobody"}, "ports": [{"port": 80}]},
        }
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "buyer", "namespace": "shop"}}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": ambient}}
        (self.directory / "manifests").mkdir(exist_ok=True)
        (self.directory / "manifests/all.yaml").write_text(yaml.safe_dump_all([namespace, account, pod, service]))

    def start_control_plane(self) -> subprocess.Popen[bytes]:
        public = self._token_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (self.directory / "token-key.pub.pem").write_bytes(public)
        (self.directory / "token").write_text(self.token("n1"))
        started = self.start(
            "ambient-controlplane",
            "controlplane.log",
            MANIFESTS_DIR=str(self.directory / "manifests"),
            STATE_DIR=str(self.directory / "state"),
            TOKEN_KEY=str(self.directory / "token-key.pub.pem"),
            LISTEN_ADDR="127.0.0.1:15012",
            READINESS_ADDR="127.0.0.1:15031",
        )
        self.until(lambda: self.get(15031, "/healthz/ready")[0] == 200)
        return started

    def token(self, node: str) -> str:
        """What a node proxy proves its node with."""
        claims = {"iss": "ambient-lab", "aud": "istio-ca", "sub": "system:serviceaccount:istio-system:ztunnel", "exp": time.time() + 600}
        return jwt.encode({**claims, "kubernetes.io": {"node": {"name": node}}}, self._token_key, algorithm="ES256")

    def start_ztunnel(self, **env: str) -> subprocess.Popen[bytes]:
        return self.start(
            "ztunnel",
            "ztunnel.log",
            **{
                "NODE_NAME": "n1",
                "XDS_ADDRESS": "127.0.0.1:15012",
                "CA_ADDRESS": "127.0.0.1:15012",
                "ROOT_CERT": str(self.directory / "state/root-cert.pem"),
                "AUTH_TOKEN": str(self.directory / "token"),
                "INPOD_UDS": str(self.directory / "ztunnel.sock"),
                **env,
            },
        )

    def get(self, port: int, path: str) -> tuple[int, str]:
        """Asks in the node's namespace; status 0: nobody listens."""
        with entered(self.node):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError:
                return 0, ""

    def dump(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.get(15000, "/config_dump")[1])
        return result

    def until(self, condition: Any) -> None:
        """Asks again until it is so; every 20 ms, for there is nothing to wait on across processes."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not so after {PATIENCE_S:g} s"
            time.sleep(0.02)


class Agent:
    """The other end of ZDS, by hand."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(PATIENCE_S)
        self._connection: socket.socket | None = None

    def accept(self) -> zds.ZdsHello:
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(PATIENCE_S)
        return zds.ZdsHello.FromString(self._connection.recv(4096))

    def add(self, uid: str, name: str, namespace: str, account: str, netns: str) -> str:
        info = zds.WorkloadInfo(name=name, namespace=namespace, service_account=account)
        fd = os.open(f"/var/run/netns/{netns}", os.O_RDONLY)
        try:
            return self.say(zds.WorkloadRequest(add=zds.AddWorkload(uid=uid, workload_info=info)), [fd])
        finally:
            os.close(fd)

    def delete(self, uid: str) -> str:
        return self.say(zds.WorkloadRequest(**{"del": zds.DelWorkload(uid=uid)}))

    def snapshot_sent(self) -> str:
        return self.say(zds.WorkloadRequest(snapshot_sent=zds.SnapshotSent()))

    def say(self, request: zds.WorkloadRequest, fds: list[int] | None = None) -> str:
        """Returns the error of the acknowledgement."""
        assert self._connection is not None
        socket.send_fds(self._connection, [request.SerializeToString()], fds or [])
        return zds.WorkloadResponse.FromString(self._connection.recv(4096)).ack.error

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)
