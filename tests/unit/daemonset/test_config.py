"""Settings, and every mistake in them at once."""

from pathlib import Path

import pytest

from daemonset.capture.items import Mode
from daemonset.config import KubernetesSettings, parse
from mesh.errors import ConfigErrors
from runtime.settings import LogFormat


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"NODE_NAME": "node-1", "MANIFESTS_DIR": str(tmp_path), "POD_NETNS_DIR": str(tmp_path)}


def test_defaults_are_those_of_the_contract(env: dict[str, str]) -> None:
    settings = parse(env)
    assert settings.capture is Mode.EBPF
    assert settings.inpod_uds == Path("/var/run/ztunnel/ztunnel.sock")
    assert settings.pins == Path("/sys/fs/bpf/ambient/node-1")
    assert settings.readiness == ("::", 15022)
    assert settings.log_format is LogFormat.PLAIN


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(
            {
                "NODE_NAME": "../x",
                "MANIFESTS_DIR": "/none",
                "CAPTURE": "magic",
                "BPFFS": "relative",
                "READINESS_ADDR": "x:99999",
                "LOG_FORMAT": "xml",
            }
        )
    keys = ["NODE_NAME", "MANIFESTS_DIR", "POD_NETNS_DIR", "CAPTURE", "BPFFS", "READINESS_ADDR", "LOG_FORMAT"]
    assert [error.key for error in caught.value.errors] == keys


@pytest.mark.parametrize("text", ["", "/" + "x" * 107, "a\0b"])
def test_a_socket_path_must_fit(env: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse({**env, "INPOD_UDS": text})
    assert [error.key for error in caught.value.errors] == ["INPOD_UDS"]


@pytest.mark.parametrize(("text", "address"), [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:65535", ("::1", 65535)), (":80", ("::", 80))])
def test_readiness_address(env: dict[str, str], text: str, address: tuple[str, int]) -> None:
    assert parse({**env, "READINESS_ADDR": text}).readiness == address


def test_in_a_cluster_neither_manifests_nor_namespaces_are_directories() -> None:
    settings = parse({"NODE_NAME": "node-1", "SOURCE": "kubernetes", "POD_NAME": "ambient-x"})
    assert settings.source == KubernetesSettings(None, "ambient-x", Path("/proc"), None, uninstall=False)
    assert settings.host_netns == Path("/proc/1/ns/net")


def test_mistakes_of_a_cluster_are_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse({"NODE_NAME": "node-1", "SOURCE": "kubernetes", "PROC_DIR": "/none", "HOST_NETNS": "relative"})
    assert [error.key for error in caught.value.errors] == ["POD_NAME", "PROC_DIR", "HOST_NETNS"]
