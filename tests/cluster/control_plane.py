"""etcd, the API server, the controllers and the scheduler, on this machine's side of the nodes' network."""

import shutil
from pathlib import Path

from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.layout import (
    API_PORT,
    API_SERVICE_ADDRESS,
    ETCD_PEER_PORT,
    ETCD_PORT,
    POD_NETWORKS,
    SERVICE_NETWORKS,
    Layout,
)
from tests.cluster.pki import Authority, service_account_keys
from tests.cluster.processes import answers, start, until

_ISSUER = "https://kubernetes.default.svc.cluster.local"


def start_control_plane(layout: Layout, binaries: Path) -> Authority:
    """Starts everything but nodes; returns when the API server is ready."""
    authority = _write_keys(layout)
    start_etcd(layout)
    start_api_server(layout, binaries)
    until(lambda: answers(f"{layout.api}/readyz", str(layout.root / "ca.crt")), "the API server is ready", layout, "kube-apiserver")
    _start_client(layout, binaries, "kube-controller-manager", [
        f"--service-account-private-key-file={layout.root}/sa.key", f"--root-ca-file={layout.root}/ca.crt",
        "--use-service-account-credentials",
        f"--cluster-signing-cert-file={layout.root}/ca.crt", f"--cluster-signing-key-file={layout.root}/ca.key",
        "--allocate-node-cidrs=false", "--bind-address=127.0.0.1", "--secure-port=0", "--leader-elect=false",
    ])  # fmt: skip
    _start_client(layout, binaries, "kube-scheduler", ["--bind-address=127.0.0.1", "--secure-port=0", "--leader-elect=false"])
    return authority


def _write_keys(layout: Layout) -> Authority:
    authority = Authority()
    names = [*layout.host_addresses, API_SERVICE_ADDRESS, "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    for name, issued in {
        "ca": authority.issued,
        "apiserver": authority.issue("kube-apiserver", names=names),
        "kubelet-client": authority.issue("kube-apiserver-kubelet-client", ["system:masters"]),
    }.items():
        (layout.root / f"{name}.crt").write_bytes(issued.certificate)
        (layout.root / f"{name}.key").write_bytes(issued.key)
    private, public = service_account_keys()
    (layout.root / "sa.key").write_bytes(private)
    (layout.root / "sa.pub").write_bytes(public)
    write_kubeconfig(layout, layout.kubeconfig, authority, "admin", ["system:masters"])
    for user in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        write_kubeconfig(layout, layout.root / f"{user}.kubeconfig", authority, f"system:{user}")
    return authority


def start_etcd(layout: Layout) -> int:
    """Starts etcd, whose data are there already when it was ended before."""
    etcd = shutil.which("etcd")
    assert etcd, "the Debian package etcd-server is installed"
    host = layout.host_addresses[0]
    client, peer = f"http://{host}:{ETCD_PORT}", f"http://{host}:{ETCD_PEER_PORT}"
    return start(layout, "etcd", [
        etcd, "--data-dir", f"{layout.root}/etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    ])  # fmt: skip


def start_api_server(layout: Layout, binaries: Path) -> int:
    """Starts the API server; also again, after it was killed."""
    root = layout.root
    return start(layout, "kube-apiserver", [
        str(binaries / "kube-apiserver"), f"--etcd-servers=http://{layout.host_addresses[0]}:{ETCD_PORT}",
        f"--bind-address={layout.host_addresses[0]}", f"--advertise-address={layout.host_addresses[0]}", f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={','.join(SERVICE_NETWORKS)}",
        f"--tls-cert-file={root}/apiserver.crt", f"--tls-private-key-file={root}/apiserver.key",
        f"--client-ca-file={root}/ca.crt", f"--service-account-key-file={root}/sa.pub", f"--service-account-signing-key-file={root}/sa.key",
        f"--service-account-issuer={_ISSUER}", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={root}/kubelet-client.crt", f"--kubelet-client-key={root}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
    ])  # fmt: skip


def _start_client(layout: Layout, binaries: Path, program: str, arguments: list[str]) -> None:
    kubeconfig = f"--kubeconfig={layout.root / program}.kubeconfig"
    networks = [f"--cluster-cidr={','.join(POD_NETWORKS)}"] if program == "kube-controller-manager" else []
    start(layout, program, [str(binaries / program), kubeconfig, *networks, *arguments])
