"""What Helm is told, and what is said where it cannot be."""

from pathlib import Path

import pytest

from cli.install.helm import CHART, HelmFailed, Release, install_command, run, uninstall_command, upgrade_command

RELEASE = Release("mesh", Path("/k"), (Path("a.yaml"), Path("b.yaml")), ("x=1", "y=2"), 60)
WHERE = ["--namespace", "mesh", "--timeout", "60s", "--kubeconfig", "/k"]
WISHES = ["--values", "a.yaml", "--values", "b.yaml", "--set", "x=1", "--set", "y=2"]


def test_commands() -> None:
    assert install_command(RELEASE, dry_run=False) == ["install", "ambient", str(CHART), *WHERE, *WISHES]
    assert upgrade_command(RELEASE, dry_run=False) == ["upgrade", "ambient", str(CHART), "--reset-then-reuse-values", *WHERE, *WISHES]
    assert uninstall_command(RELEASE, dry_run=False) == ["uninstall", "ambient", "--wait", *WHERE]


def test_dry_runs_change_nothing() -> None:
    assert install_command(RELEASE, dry_run=True)[-1] == upgrade_command(RELEASE, dry_run=True)[-1] == "--dry-run=server"
    assert uninstall_command(RELEASE, dry_run=True)[-1] == "--dry-run"


def test_the_chart_is_where_it_is_said_to_be() -> None:
    assert (CHART / "Chart.yaml").exists()


def test_no_helm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HelmFailed, match="kubectl apply"):
        run(["version"])


def test_what_helm_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    helm = tmp_path / "helm"
    helm.write_text("#!/bin/sh\necho Error: cannot re-use a name >&2\nexit 1\n")
    helm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HelmFailed, match=r"^helm install: cannot re-use a name$"):
        run(["install"])
