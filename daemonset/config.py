"""The agent's settings: what docs/runtime.md lists under ambient-agent, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemonset.capture.items import Mode
from runtime.settings import ListenAddress, LogFormat, SettingsReader, dns_name, listen_address, log_format, one_of, path

# Source: struct sockaddr_un; a longer path cannot be bound.
_MAX_SOCKET_PATH = 107
# By whether the agent runs in a pod: there the node's first process has it, elsewhere the agent itself.
_NODE_NETNS = {True: "/proc/1/ns/net", False: "/proc/self/ns/net"}


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """SOURCE=directory: no Kubernetes is needed.

    Args:
        manifests_dir: what to enrol.
        pod_netns_dir: a file per running pod of the node, named by its uid: its network namespace.
    """

    manifests_dir: Path
    pod_netns_dir: Path


@dataclass(frozen=True, slots=True)
class CniSettings:
    """The CNI plugin.

    Args:
        socket: where it asks; the same path on the node and here.
        bin_dir, conf_dir: of the node, as they are seen here.
        program: of the plugin, in the agent's image.
        exclude_namespaces: whose pods start without the agent.
    """

    socket: Path
    bin_dir: Path
    conf_dir: Path
    program: Path
    exclude_namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """SOURCE=kubernetes.

    Args:
        kubeconfig: None: this process runs in a pod.
        pod_name: of the agent itself; it signs events.
        proc_dir: /proc of the node's processes.
        cni: None: there is no CNI plugin.
        uninstall: this agent is here to leave nothing: no pod is wanted.
    """

    kubeconfig: Path | None
    pod_name: str
    proc_dir: Path
    cni: CniSettings | None
    uninstall: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one agent.

    Args:
        node_name: a DNS subdomain; it becomes a directory's name.
        host_netns: file of the node's own network namespace.
        ownership: file by which the agents of a node know who acts; None: this one is alone.
        inpod_uds: where ztunnel finds the agent.
        capture: how pods are captured.
        pins: directory, in a BPF file system, of this node's pods.
        readiness: of the readiness page.
    """

    node_name: str
    source: DirectorySettings | KubernetesSettings
    host_netns: Path
    ownership: Path | None
    inpod_uds: Path
    capture: Mode
    bpffs: Path
    readiness: ListenAddress
    log_format: LogFormat

    @property
    def pins(self) -> Path:
        return self.bpffs / self.node_name


def parse(env: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Raises:
        ConfigErrors: everything that is wrong.
    """
    reader = SettingsReader(env)
    kubernetes = reader.read("SOURCE", "directory", one_of(("directory", "kubernetes")), "directory or kubernetes") == "kubernetes"
    settings = Settings(
        node_name=reader.read("NODE_NAME", None, dns_name, "the name of this node: a DNS subdomain"),
        source=_read_kubernetes(reader) if kubernetes else _read_directory(reader),
        host_netns=reader.read("HOST_NETNS", _NODE_NETNS[kubernetes], _absolute_path, "the file of the node's network namespace"),
        ownership=reader.read_optional("OWNERSHIP_FILE", _absolute_path, "an absolute path"),
        inpod_uds=reader.read("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock", _socket_path, f"a path of at most {_MAX_SOCKET_PATH} bytes"),
        capture=reader.read("CAPTURE", Mode.EBPF.value, _mode, "ebpf or iptables"),
        bpffs=reader.read("BPFFS", "/sys/fs/bpf/ambient", _absolute_path, "an absolute path"),
        readiness=reader.read("READINESS_ADDR", "[::]:15022", listen_address, "ADDRESS:PORT"),
        log_format=reader.read("LOG_FORMAT", "plain", log_format, "plain or json"),
    )
    reader.check()
    return settings


def _read_directory(reader: SettingsReader) -> DirectorySettings:
    return DirectorySettings(
        manifests_dir=reader.read("MANIFESTS_DIR", None, _directory, "an existing directory of Kubernetes manifests"),
        pod_netns_dir=reader.read("POD_NETNS_DIR", None, _directory, "an existing directory of pods' network namespaces"),
    )


def _read_kubernetes(reader: SettingsReader) -> KubernetesSettings:
    return KubernetesSettings(
        kubeconfig=reader.read_optional("KUBECONFIG", path, "a kubeconfig file"),
        pod_name=reader.read("POD_NAME", None, dns_name, "the name of this pod: a DNS subdomain"),
        proc_dir=reader.read("PROC_DIR", "/proc", _directory, "an existing directory: /proc of the node's processes"),
        cni=_read_cni(reader, socket) if (socket := reader.read_optional("CNI_SOCKET", _socket_path, "an absolute path")) else None,
        uninstall=reader.read("UNINSTALL", "false", one_of(("true", "false")), "true or false") == "true",
    )


def _read_cni(reader: SettingsReader, socket: Path) -> CniSettings:
    return CniSettings(
        socket=socket,
        bin_dir=reader.read("CNI_BIN_DIR", "/opt/cni/bin", _absolute_path, "an absolute path"),
        conf_dir=reader.read("CNI_CONF_DIR", "/etc/cni/net.d", _absolute_path, "an absolute path"),
        program=reader.read("CNI_PROGRAM", "/usr/local/bin/ambient-cni", _absolute_path, "an absolute path"),
        exclude_namespaces=reader.read("CNI_EXCLUDE_NAMESPACES", "kube-system", _names, "namespaces, comma-separated"),
    )


def _names(text: str) -> tuple[str, ...] | None:
    names = tuple(filter(None, text.split(",")))
    return names if all(map(dns_name, names)) else None


def _absolute_path(text: str) -> Path | None:
    return path(text) if text.startswith("/") else None


def _directory(text: str) -> Path | None:
    found = path(text)
    return found if found is not None and found.is_dir() else None


def _socket_path(text: str) -> Path | None:
    return path(text) if len(text.encode()) <= _MAX_SOCKET_PATH else None


def _mode(text: str) -> Mode | None:
    return next((mode for mode in Mode if mode.value == text), None)
