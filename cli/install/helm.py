"""Helm, and how it is called. What it is told is decided here without I/O; `run` alone starts it."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import daemonset
from mesh.errors import MeshError

RELEASE = "ambient"
CHART = Path(daemonset.__file__).parent / "chart"
# Rendered from the chart with its defaults, for those who have no Helm.
MANIFESTS = Path(daemonset.__file__).parent / "manifests/ambient.yaml"
_PROGRAM = "helm"


class HelmFailed(MeshError):
    """Helm is not there, or did not do what it was asked for; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """Which release of which cluster, and what the user wants of it.

    Args:
        values, settings: as `helm --values` and `--set` take them.
        timeout_s: of what Helm itself waits for.
    """

    namespace: str
    kubeconfig: Path | None = None
    values: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()
    timeout_s: int = 300


def install_command(release: Release, *, dry_run: bool) -> list[str]:
    return ["install", RELEASE, str(CHART), *_where(release), *_wishes(release), *_dry(dry_run)]


def upgrade_command(release: Release, *, dry_run: bool) -> list[str]:
    """What was set before stays set; what was not gets the new chart's default."""
    return ["upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", *_where(release), *_wishes(release), *_dry(dry_run)]


def uninstall_command(release: Release, *, dry_run: bool) -> list[str]:
    return ["uninstall", RELEASE, "--wait", *_where(release), *(["--dry-run"] if dry_run else [])]


def _where(release: Release) -> list[str]:
    kubeconfig = ["--kubeconfig", str(release.kubeconfig)] if release.kubeconfig else []
    return ["--namespace", release.namespace, "--timeout", f"{release.timeout_s}s", *kubeconfig]


def _wishes(release: Release) -> list[str]:
    files = [argument for path in release.values for argument in ("--values", str(path))]
    return files + [argument for setting in release.settings for argument in ("--set", setting)]


def _dry(dry_run: bool) -> list[str]:
    return ["--dry-run=server"] if dry_run else []


def require_helm() -> str:
    """Returns the path of Helm.

    Raises:
        HelmFailed: it is not installed.
    """
    if (path := shutil.which(_PROGRAM)) is None:
        raise HelmFailed(
            "helm is not on the PATH: install Helm 3.14 or later (from your distribution, or go install helm.sh/helm/v3/cmd/helm@latest),\n"
            f"or do without it: kubectl apply --server-side -f {MANIFESTS}"
        )
    return path


def run(arguments: list[str]) -> str:
    """Runs Helm; returns what it says.

    Raises:
        HelmFailed: it is not there, or failed; with what it said.
    """
    done = subprocess.run([require_helm(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmFailed(f"helm {arguments[0]}: {done.stderr.strip().removeprefix('Error: ')}")
    return done.stdout
