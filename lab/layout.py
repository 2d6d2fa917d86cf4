"""Where a lab keeps what: the names of its network namespaces and the paths of its files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import ConfigError

DEFAULT_NAME = "lab"
NAME_VARIABLE = "AMBIENT_LAB"
# No hyphen: "a-b-c" is then a pod of lab "a" and of no other. Short, because unix socket paths end at 107 bytes.
_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")
RUN_DIR = Path("/run")
NETNS_DIR = RUN_DIR / "netns"


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and paths of the lab called `name`; docs/runtime.md describes them."""

    name: str = DEFAULT_NAME

    @property
    def root(self) -> Path:
        return RUN_DIR / f"ambient-{self.name}"

    @property
    def manifests(self) -> Path:
        return self.root / "manifests"

    @property
    def controlplane(self) -> Path:
        return self.root / "controlplane"

    @property
    def token_key(self) -> Path:
        return self.controlplane / "token-key.pem"

    @property
    def token_public_key(self) -> Path:
        return self.controlplane / "token-key.pub.pem"

    @property
    def bundle(self) -> Path:
        """What the nodes trust, as the control plane publishes it."""
        return self.controlplane / "bundle"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def control_socket(self) -> Path:
        return self.root / "lab.sock"

    @property
    def daemon_log(self) -> Path:
        return self.logs / "lab.log"

    @property
    def bpffs(self) -> Path:
        return self.root / "bpf"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def bridge_netns(self) -> str:
        return f"{self.name}-net"

    @property
    def controlplane_netns(self) -> str:
        return f"{self.name}-controlplane"

    def node(self, node: str) -> Path:
        return self.root / "nodes" / node

    def pod_links(self, node: str) -> Path:
        return self.node(node) / "netns"

    def hosts(self, namespace: str) -> Path:
        return self.root / "hosts" / namespace

    def node_netns(self, node: str) -> str:
        return f"{self.name}-{node}"

    def pod_netns(self, namespace: str, pod: str) -> str:
        return f"{self.name}-{namespace}-{pod}"

    def process_log(self, process: str, node: str | None = None) -> Path:
        return (self.logs / node if node else self.logs) / f"{process}.log"

    def pod_log(self, namespace: str, pod: str) -> Path:
        return self.logs / "pods" / namespace / f"{pod}.log"


def layout_of(env: Mapping[str, str]) -> Layout:
    """The lab that the environment names.

    Raises:
        ConfigError: the name does not fit into the names of namespaces and sockets.
    """
    name = env.get(NAME_VARIABLE) or DEFAULT_NAME
    if not _NAME.fullmatch(name):
        raise ConfigError(NAME_VARIABLE, name, "a small letter, then up to 19 small letters or digits")
    return Layout(name)
