"""Names, addresses and paths of one test cluster. Pure."""

from dataclasses import dataclass
from pathlib import Path

STATE_ROOT = Path("/run/ambient-cluster")
# Many clusters beside one another differ in the third byte of their nodes' network. What is inside the nodes is the same in all.
MAX_CLUSTERS = 200
POD_NETWORKS = ("10.244.0.0/16", "fd00:10:244::/48")
SERVICE_NETWORKS = ("10.96.0.0/16", "fd00:10:96::/112")
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
API_PORT, ETCD_PORT, ETCD_PEER_PORT = 6443, 2379, 2380


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Args:
        number: from 1 on.
        directory: what is this node's own.
        cgroup: below each controller of cgroup v1.
        netns: name of its network namespace.
    """

    number: int
    name: str
    directory: Path
    cgroup: str
    netns: str
    addresses: tuple[str, str]
    pod_networks: tuple[str, str]

    @property
    def containerd(self) -> Path:
        return self.directory / "containerd.sock"


@dataclass(frozen=True, slots=True)
class Layout:
    """One cluster.

    Args:
        name: small letters and digits, at most 8.
        index: of its nodes' network, below MAX_CLUSTERS.
        node_count: at most 9.
    """

    name: str
    index: int
    node_count: int

    @property
    def root(self) -> Path:
        return STATE_ROOT / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def bridge(self) -> str:
        """Joins the nodes and this machine."""
        return f"amc{self.index}"

    def port(self, node: "Node") -> str:
        """This machine's end of a node's wire."""
        return f"{self.bridge}p{node.number}"

    @property
    def host_addresses(self) -> tuple[str, str]:
        """Where etcd and the API server listen."""
        return f"172.31.{self.index}.1", f"fd00:172:31:{self.index}::1"

    @property
    def api(self) -> str:
        return f"https://{self.host_addresses[0]}:{API_PORT}"

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._node(number) for number in range(1, self.node_count + 1))

    def _node(self, number: int) -> Node:
        name = f"node{number}"
        return Node(
            number,
            name,
            self.root / name,
            f"{self.name}-{name}",
            f"{self.name}-{name}",
            (f"172.31.{self.index}.1{number}", f"fd00:172:31:{self.index}::1{number}"),
            (f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"),
        )
