"""A real control plane in a process of its own, and what a node needs to talk to it."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.process import NotReady, peak_mb, running

# Twice the limit of the row: what is slower fails instead of giving a figure.
READY_TIMEOUT_S = 120
# Each look costs the control plane a millisecond of its reading.
POLL_S = 0.2
_COMMAND = (sys.executable, "-c", "import sys; from controlplane.main import main; sys.exit(main())")


@dataclass(frozen=True, slots=True)
class Plane:
    """A control plane that is ready.

    Args:
        ready_s: from its start until it was.
    """

    directory: Path
    process: "subprocess.Popen[bytes]"
    key: ec.EllipticCurvePrivateKey
    port: int
    ready_s: float

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def root_cert(self) -> Path:
        return self.directory / "state" / "bundle" / "root-cert.pem"

    @property
    def peak_mb(self) -> float:
        return peak_mb(self.process.pid)

    def token(self, node: str) -> str:
        """What proves a node's proxy, for an hour."""
        account = "system:serviceaccount:istio-system:ztunnel"
        claims = {"iss": "ambient-lab", "aud": "istio-ca", "sub": account, "exp": time.time() + 3600}
        return jwt.encode({**claims, "kubernetes.io": {"node": {"name": node}}}, self.key, algorithm="ES256")


@contextlib.contextmanager
def running_plane(directory: Path, manifests: Path, ports: tuple[int, int]) -> Iterator[Plane]:
    """Starts a control plane on two ports (gRPC, HTTP) of the loopback interface, waits until it is ready, and stops it at the end.

    Raises:
        NotReady: it ended, or took too long.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "token-key.pub.pem").write_bytes(public)
    settings = {
        "MANIFESTS_DIR": str(manifests),
        "STATE_DIR": str(directory / "state"),
        "TOKEN_KEY": str(directory / "token-key.pub.pem"),
        "LISTEN_ADDR": f"127.0.0.1:{ports[0]}",
        "READINESS_ADDR": f"127.0.0.1:{ports[1]}",
    }
    log = directory / "controlplane.log"
    began = time.monotonic()
    with running(_COMMAND, log, {**os.environ, **settings}) as process:
        while not _ready(ports[1]):
            if process.poll() is not None or time.monotonic() > began + READY_TIMEOUT_S:
                raise NotReady(f"control plane: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)
        yield Plane(directory, process, key, ports[0], time.monotonic() - began)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz/ready", timeout=READY_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
