"""Where the API server is and who we are: what is read, and what is said of what cannot be."""

import json
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from mesh.errors import ApiUnreachable, ConfigError
from runtime.kubernetes import access, load_access
from tests.kubernetes_server import write_kubeconfig
from tests.unit.controlplane.authorities import authority

BROKEN = [":", "[]", "{}", "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: []\n", "\0"]


@pytest.mark.parametrize("content", BROKEN)
async def test_what_is_no_kubeconfig(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        await load_access(path)


async def test_outside_of_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST"):
        await load_access(None)


async def test_a_pod_s_token_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, bundle = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first\n")
    bundle.write_bytes(authority("kubernetes").pem)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(bundle))
    monkeypatch.setattr(access, "REREAD_S", 0.0)
    found = await load_access(None)
    assert (found.host, await found.authorization()) == ("https://[fd00::1]:443", "bearer first")
    token.write_text("second")
    configuration = found._configuration
    hook = configuration.refresh_api_key_hook
    loader = next(cell.cell_contents for cell in hook.__closure__ if isinstance(cell.cell_contents, incluster_config.InClusterConfigLoader))
    loader.token_expires_at = loader.token_expires_at.min
    assert await found.authorization() == "bearer second"


async def test_a_program_that_knows_who_we_are(tmp_path: Path) -> None:
    program = tmp_path / "program"
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    program.chmod(0o755)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program), "interactiveMode": "Never"}
    found = await load_access(write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", exec=plugin))
    assert await found.authorization() == "Bearer t"


async def test_a_token_of_several_lines_is_none(tmp_path: Path) -> None:
    found = await load_access(write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", token="a\nb"))
    with pytest.raises(ApiUnreachable):
        await found.authorization()
