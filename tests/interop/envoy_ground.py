"""One node with the whole mesh (control plane, agent, ztunnel, capture), and beside it a pod in which Envoy speaks HBONE.

Envoy's pod belongs to another node, of which this ground runs no agent: the control plane says that the pod speaks HBONE, as it
would of any enrolled pod, and what listens on its port 15008 is Envoy. (In the lab that node's agent would capture the pod.)
Envoy's certificates come from our certificate authority by gRPC, as a node proxy asks for them.
"""

import asyncio
import datetime as dt
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificate

from bench.envoy import CredentialFiles, command
from controlplane.authority import issue_workload, issuer_of
from mesh.identity import parse_identity
from tests.netns.ztunnel.ground import NODE_IP, PATIENCE_S, POD_IP, POD_UID, Ground, entered, run
from tests.unit.ztunnel.certificates.once import fetch_once
from ztunnel.certificates.trust_files import TrustFiles
from ztunnel.config import ControlPlaneSettings
from ztunnel.engine.interface import Credentials

# Envoy's pods share a network namespace. Each has an address of its own.
ROUTER_IP = "10.9.2.1"
PEER_IP, IMPOSTOR_IP, SUSPICIOUS_IP = "10.9.2.2", "10.9.2.3", "10.9.2.4"
BUYER = "spiffe://cluster.local/ns/shop/sa/buyer"
SELLER = "spiffe://cluster.local/ns/shop/sa/seller"
OTHER = "spiffe://cluster.local/ns/shop/sa/other"
FOREIGN = "spiffe://elsewhere.example/ns/shop/sa/seller"
CONTROL_PLANE = ("127.0.0.1", 15012)
ACCOUNTS = ("buyer", "seller", "other")
# One worker, and an access log that is written soon.
SMALL = ("--concurrency", "1", "--file-flush-interval-msec", "50")
# Source: include/net/tcp_states.h.
TCP_LISTEN = "0A"
ENVOY = Path(sys.executable).parent / "envoy"


class EnvoyGround(Ground):
    """See the module. `pod` is the captured pod's namespace, `peer` that of Envoy's pods."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.peer = self.pod.removesuffix("pod") + "peer"
        # Envoys of one machine tell their shared memory apart by it.
        self._base_id = os.getpid() * 16

    def lay(self) -> None:
        for netns in (self.node, self.pod, self.peer):
            run("ip", "netns", "add", netns)
            run("ip", "-n", netns, "link", "set", "lo", "up")
        run("ip", "netns", "exec", self.node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._join(self.pod, "pod0", NODE_IP, [POD_IP])
        self._join(self.peer, "peer0", ROUTER_IP, [PEER_IP, IMPOSTOR_IP, SUSPICIOUS_IP])

    def _join(self, netns: str, name: str, router_ip: str, ips: list[str]) -> None:
        run("ip", "-n", self.node, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", netns)
        run("ip", "-n", self.node, "address", "add", f"{router_ip}/24", "dev", name)
        run("ip", "-n", self.node, "link", "set", name, "up")
        for ip in ips:
            run("ip", "-n", netns, "address", "add", f"{ip}/24", "dev", "eth0")
        run("ip", "-n", netns, "link", "set", "eth0", "up")
        run("ip", "-n", netns, "route", "add", "default", "via", router_ip)

    def clear(self) -> None:
        super().clear()
        subprocess.run(("ip", "netns", "delete", self.peer), check=False, capture_output=True)

    def manifests(self) -> None:
        ambient = {"istio.io/dataplane-mode": "ambient"}
        objects = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": ambient}},
            *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}} for name in ACCOUNTS),
            _pod("client", POD_UID, "n1", "buyer", POD_IP),
            _pod("peer", f"{POD_UID[:-1]}2", "n2", "seller", PEER_IP),
            _pod("impostor", f"{POD_UID[:-1]}3", "n2", "seller", IMPOSTOR_IP),
            _pod("suspicious", f"{POD_UID[:-1]}4", "n2", "seller", SUSPICIOUS_IP),
            _pod("somebody", f"{POD_UID[:-1]}5", "n2", "other", "10.9.2.5"),
        ]
        (self.directory / "manifests").mkdir()
        (self.directory / "manifests/all.yaml").write_text(yaml.safe_dump_all(objects))

    def start_mesh(self) -> None:
        """Returns when the captured pod is captured."""
        self.start_control_plane()
        (self.directory / "netns").mkdir()
        (self.directory / "netns" / POD_UID).symlink_to(f"/var/run/netns/{self.pod}")
        self.start(
            "ambient-agent",
            "agent.log",
            NODE_NAME="n1",
            MANIFESTS_DIR=str(self.directory / "manifests"),
            POD_NETNS_DIR=str(self.directory / "netns"),
            INPOD_UDS=str(self.directory / "ztunnel.sock"),
            CAPTURE="iptables",
        )
        self.start_ztunnel(CRL_PATH=str(self.directory / "state/bundle/ca-crl.pem"))
        self.until(lambda: any(pod["captured"] for pod in self._pods()))

    def _pods(self) -> list[dict[str, Any]]:
        status, text = self.get(15022, "/pods")
        pods: list[dict[str, Any]] = json.loads(text) if status == 200 else []
        return pods

    # Envoy

    def certificate(self, identity: str, node: str = "n2") -> Credentials:
        """From the control plane by gRPC, as the node that runs the pod asks for it."""
        token, state = self.directory / f"token-{node}", self.directory / "state"
        token.write_text(self.token(node))
        settings = ControlPlaneSettings(CONTROL_PLANE, CONTROL_PLANE, "controlplane.ambient", state / "root-cert.pem", token, True)
        with entered(self.node):
            return asyncio.run(fetch_once(settings, parse_identity(identity), TrustFiles(settings.root_cert, None).read)).credentials

    def foreign_certificate(self, identity: str) -> Credentials:
        """What no honest call gets: signed with the root's own key, for any identity."""
        state = self.directory / "state"
        key = serialization.load_pem_private_key((state / "root-key.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        roots = (state / "root-cert.pem").read_bytes()
        own = ec.generate_private_key(ec.SECP256R1())
        root = issuer_of(key, load_pem_x509_certificate(roots))
        leaf = issue_workload(root, own.public_key(), parse_identity(identity), dt.timedelta(hours=1), dt.datetime.now(dt.UTC))
        private = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Credentials(leaf.public_bytes(serialization.Encoding.PEM), private, roots)

    def files(self, name: str, credentials: Credentials) -> CredentialFiles:
        """Envoy reads files; these go with the test's directory."""
        paths = CredentialFiles(*(self.directory / f"{name}.{part}.pem" for part in ("cert", "key", "roots")))
        paths.certificate.write_bytes(credentials.certificate_chain)
        paths.private_key.touch(mode=0o600)
        paths.private_key.write_bytes(credentials.private_key)
        paths.roots.write_bytes(credentials.roots)
        return paths

    def start_envoy(self, name: str, configuration: Mapping[str, Any], listens_on: tuple[str, int]) -> None:
        """Returns when it listens."""
        path = self.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(configuration)))
        self._base_id += 1
        with (self.directory / f"{name}.log").open("wb") as log:
            argv = [*command(ENVOY, path, self._base_id), *SMALL]
            process = subprocess.Popen(("ip", "netns", "exec", self.peer, *argv), stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        self.until(lambda: process.poll() is not None or _listens(self.peer, listens_on))
        assert process.poll() is None, self.text(f"{name}.log")


def connect(netns: str, address: tuple[str, int]) -> socket.socket:
    """A connection from a namespace, that waits PATIENCE_S at most. Raises OSError: nobody takes it."""
    with entered(netns):
        return socket.create_connection(address, timeout=PATIENCE_S)


def listen(netns: str, address: tuple[str, int]) -> socket.socket:
    """A listener in a namespace, that waits PATIENCE_S at most."""
    with entered(netns):
        listener = socket.create_server(address, backlog=1024)
    listener.settimeout(PATIENCE_S)
    return listener


def _listens(netns: str, address: tuple[str, int]) -> bool:
    """Asks the kernel: a connection of ours would become a tunnel's stream."""
    ip, port = address
    local = f"{int.from_bytes(socket.inet_aton(ip), sys.byteorder):08X}:{port:04X}"
    with entered(netns):
        lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return any(fields[1] == local and fields[3] == TCP_LISTEN for fields in map(str.split, lines))


def _pod(name: str, uid: str, node: str, account: str, ip: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        # As if their nodes' agents had captured them all: Envoy listens where a ztunnel would.
        "metadata": {"name": name, "namespace": "shop", "uid": uid, "annotations": {"ambient.istio.io/redirection": "enabled"}},
        "spec": {"nodeName": node, "serviceAccountName": account, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    }
