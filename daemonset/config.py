"""The agent's settings: what docs/runtime.md lists under ambient-agent, read from the environment once."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from daemonset.capture.items import Mode
from mesh.errors import ConfigError, ConfigErrors

_T = TypeVar("_T")
# Source: Kubernetes, "Object Names and IDs": a node's name is a DNS subdomain. It becomes a directory's name.
_NODE_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_HOST_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")
_LOG_FORMATS = ("plain", "json")
# Source: struct sockaddr_un; a longer path cannot be bound.
_MAX_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one agent.

    Args:
        manifests_dir: what to enrol.
        pod_netns_dir: a file per running pod of the node, named by its uid: its network namespace.
        inpod_uds: where ztunnel finds the agent.
        capture: how pods are captured.
        pins: directory, in a BPF file system, of this node's pods.
        readiness: host and port of the readiness page.
        log_format: "plain" or "json".
    """

    node_name: str
    manifests_dir: Path
    pod_netns_dir: Path
    inpod_uds: Path
    capture: Mode
    bpffs: Path
    readiness: tuple[str, int]
    log_format: str

    @property
    def pins(self) -> Path:
        return self.bpffs / self.node_name


def parse(env: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Raises:
        ConfigErrors: everything that is wrong.
    """
    errors: list[ConfigError] = []

    def read(key: str, default: str | None, convert: Callable[[str], _T | None], expected: str) -> _T:
        text = env.get(key, default)
        value = convert(text) if text is not None else None
        if value is None:
            errors.append(ConfigError(key, text, expected))
        return value  # type: ignore[return-value]  # None is never used: the errors are raised first

    settings = Settings(
        node_name=read("NODE_NAME", None, _node_name, "the name of this node: a DNS subdomain"),
        manifests_dir=read("MANIFESTS_DIR", None, _directory, "an existing directory of Kubernetes manifests"),
        pod_netns_dir=read("POD_NETNS_DIR", None, _directory, "an existing directory of pods' network namespaces"),
        inpod_uds=read("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock", _socket_path, f"a path of at most {_MAX_SOCKET_PATH} bytes"),
        capture=read("CAPTURE", Mode.EBPF.value, _mode, "ebpf or iptables"),
        bpffs=read("BPFFS", "/sys/fs/bpf/ambient", _path, "an absolute path"),
        readiness=read("READINESS_ADDR", "[::]:15022", _host_port, "ADDRESS:PORT"),
        log_format=read("LOG_FORMAT", "plain", _log_format, "plain or json"),
    )
    if errors:
        raise ConfigErrors(tuple(errors))
    return settings


def _node_name(text: str) -> str | None:
    return text if _NODE_NAME.fullmatch(text) else None


def _path(text: str) -> Path | None:
    return Path(text) if text.startswith("/") and "\0" not in text else None


def _directory(text: str) -> Path | None:
    path = Path(text) if text and "\0" not in text else None
    return path if path is not None and path.is_dir() else None


def _socket_path(text: str) -> Path | None:
    return Path(text) if text and "\0" not in text and len(text.encode()) <= _MAX_SOCKET_PATH else None


def _mode(text: str) -> Mode | None:
    return next((mode for mode in Mode if mode.value == text), None)


def _host_port(text: str) -> tuple[str, int] | None:
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        return None
    return match[1] or match[2] or "::", int(match[3])


def _log_format(text: str) -> str | None:
    return text if text in _LOG_FORMATS else None
