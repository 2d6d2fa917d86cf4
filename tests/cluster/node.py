"""A node of a test cluster: namespaces instead of a machine, and everything else as on a machine."""

import json
import os
import subprocess
from pathlib import Path

from pyroute2 import IPRoute

from lab.netns import create_netns, set_sysctls
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.layout import DNS_SERVICE_ADDRESS, POD_NETWORKS, Layout, Node
from tests.cluster.pki import Authority
from tests.cluster.processes import start, until

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
PAUSE_IMAGE = "localhost/pause:1"
_INIT = Path(__file__).parent / "node-init.sh"
_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/accept_dad": "0",
    # The addresses of the nodes are known from the first moment on.
    "ipv6/conf/all/accept_dad": "0",
}


def start_node(layout: Layout, node: Node, authority: Authority, binaries: Path) -> None:
    """Makes a node and starts it; returns when containerd takes images."""
    node.directory.mkdir()
    _connect(layout, node)
    _make_cgroups(node)
    _write_files(layout, node, authority)
    environment = {
        "NODE_DIR": str(node.directory),
        "NODE_NAME": node.name,
        "NODE_ADDRESSES": ",".join(node.addresses),
        "POD_NETWORK_4": POD_NETWORKS[0],
        "POD_NETWORK_6": POD_NETWORKS[1],
        "BINARIES": str(binaries),
    }
    start(layout, node.name, [
        "env", *(f"{name}={value}" for name, value in environment.items()),
        "nsenter", f"--net=/run/netns/{node.netns}",
        "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "--propagation", "private", str(_INIT),
    ])  # fmt: skip
    until(lambda: _containerd_answers(node), f"containerd of {node.name} answers", layout, node.name)


def _connect(layout: Layout, node: Node) -> None:
    create_netns(node.netns)
    set_sysctls(node.netns, _ROUTER)
    with IPRoute() as ip:
        port = layout.port(node)
        ip.link("add", ifname=port, kind="veth", peer={"ifname": "eth0", "net_ns_fd": f"/run/netns/{node.netns}"})
        index = ip.link_lookup(ifname=port)[0]
        ip.link("set", index=index, master=ip.link_lookup(ifname=layout.bridge)[0], state="up")
    with IPRoute(netns=node.netns) as ip:
        ip.link("set", index=ip.link_lookup(ifname="lo")[0], state="up")
        eth0 = ip.link_lookup(ifname="eth0")[0]
        for address, length in zip(node.addresses, (24, 64), strict=True):
            ip.addr("add", index=eth0, address=address, prefixlen=length)
        ip.link("set", index=eth0, state="up")
        for gateway in layout.host_addresses:
            ip.route("add", dst="default", gateway=gateway, oif=eth0)
        for other in layout.nodes:
            if other != node:
                for network, gateway in zip(other.pod_networks, other.addresses, strict=True):
                    ip.route("add", dst=network, gateway=gateway, oif=eth0)


def _make_cgroups(node: Node) -> None:
    for controller in CONTROLLERS:
        (CGROUPS / controller / node.cgroup).mkdir(exist_ok=True)
    # A cpuset without processors and memory takes no process.
    for name in ("cpuset.cpus", "cpuset.mems"):
        (CGROUPS / "cpuset" / node.cgroup / name).write_text((CGROUPS / "cpuset" / name).read_text())


def _write_files(layout: Layout, node: Node, authority: Authority) -> None:
    write_kubeconfig(layout, node.directory / "kubelet.kubeconfig", authority, f"system:node:{node.name}", ["system:nodes"])
    (node.directory / "containerd.toml").write_text(_containerd(node))
    for name, content in (("cni.conflist", _cni(node)), ("kubelet.json", _kubelet(layout, node)), ("kube-proxy.json", _kube_proxy(layout))):
        (node.directory / name).write_text(json.dumps(content, indent=1))


def _containerd(node: Node) -> str:
    # Without CAP_SYS_RESOURCE nobody may lower an OOM score, which runc would otherwise try for every pod.
    return f"""version = 2
root = "{node.directory}/containerd"
state = "{node.directory}/containerd-state"
[grpc]
  address = "{node.containerd}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE}"
"""


def _cni(node: Node) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": network}] for network in node.pod_networks],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}


def _kubelet(layout: Layout, node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{layout.root}/ca.crt"},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{node.containerd}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "readOnlyPort": 0,
        # Images come from files, and nobody could pull them again; the disk is shared with everything else on this machine.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        # Every test pod ends within seconds; waiting for a second more after each change of state makes tests slow.
        "syncFrequency": "10s",
        "registerWithTaints": [],
    }


def _kube_proxy(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{layout.root}/kube-proxy.kubeconfig"},
        "clusterCIDR": ",".join(POD_NETWORKS),
        "mode": "iptables",
        # Only the machine's own namespace may set these.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _containerd_answers(node: Node) -> bool:
    return node.containerd.exists() and ctr(node, "version").returncode == 0


def ctr(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs containerd's own client."""
    command = ["ctr", "--address", str(node.containerd), "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(node.directory)})
