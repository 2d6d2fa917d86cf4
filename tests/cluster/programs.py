"""Kubernetes, CoreDNS and Helm, built once from their Go modules and kept: nothing of them is packaged for Debian 12."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_RECIPES = Path(__file__).parent / "recipes"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one Go module of `recipes/` gives.

    Args:
        packages: the Go package of each program.
        module: whose version the programs say that they are.
    """

    name: str
    packages: Mapping[str, str]
    module: str

    @property
    def directory(self) -> Path:
        return _RECIPES / self.name

    @property
    def version(self) -> str:
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)$", (self.directory / "go.mod").read_text(), re.MULTILINE)
        assert found, f"{self.name}/go.mod requires {self.module}"
        return found[1]

    @property
    def flags(self) -> str:
        """Of the linker: no symbols, and the version, which each program is told from outside."""
        major, minor = self.version.lstrip("v").split(".")[:2]
        match self.name:
            case "kubernetes" | "oldest":
                path = "k8s.io/component-base/version"
                return f"-s -w -X {path}.gitVersion={self.version} -X {path}.gitMajor={major} -X {path}.gitMinor={minor}"
            case "helm":
                return f"-s -w -X helm.sh/helm/v3/internal/version.version={self.version} {_helm_kubernetes()}"
        return "-s -w"


def _helm_kubernetes() -> str:
    """Helm renders for the version of Kubernetes that it was built with, unless it asks a cluster."""
    major, minor = KUBERNETES.version.lstrip("v").split(".")[:2]
    paths = ("helm.sh/helm/v3/pkg/lint/rules", "helm.sh/helm/v3/pkg/chartutil")
    return " ".join(f"-X {path}.k8sVersionMajor={major} -X {path}.k8sVersionMinor={minor}" for path in paths)


KUBERNETES = Recipe("kubernetes", {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES}, "k8s.io/kubernetes")
# The oldest API server that the mesh runs with (docs/kubernetes.md).
OLDEST = Recipe("oldest", {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver"}, "k8s.io/kubernetes")
COREDNS = Recipe("coredns", {"coredns": "."}, "github.com/coredns/coredns")
HELM = Recipe("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, "helm.sh/helm/v3")


class BuildFailed(Exception):
    """With what the compiler said."""


def programs(recipe: Recipe) -> Path:
    """The directory of the recipe's programs, which are built when they are not there: minutes, once for each version of the recipe.

    Raises:
        BuildFailed: Go is missing, or does not build it.
    """
    kept = _cache() / f"{recipe.name}-{_digest(recipe)}"
    if all((kept / program).exists() for program in recipe.packages):
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    # Two at once would build the same.
    with (kept.parent / f"{recipe.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for program, package in recipe.packages.items():
            if not (kept / program).exists():
                _build(recipe, program, package, kept)
    return kept


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambient-mesh"


def _digest(recipe: Recipe) -> str:
    digest = hashlib.sha256(f"{sorted(recipe.packages.items())} {recipe.flags}".encode())
    for path in sorted(recipe.directory.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(recipe: Recipe, program: str, package: str, kept: Path) -> None:
    if shutil.which("go") is None:
        raise BuildFailed(f"{program} is built from source, and there is no Go: install golang 1.24 or newer")
    print(f"building {program} {recipe.version} ...", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    kept.mkdir(exist_ok=True)
    # Beside its place, so that what is there is whole.
    with tempfile.TemporaryDirectory(dir=kept) as scratch:
        made = Path(scratch) / program
        command = ["go", "build", "-mod=readonly", "-ldflags", recipe.flags, "-o", str(made), package]
        done = subprocess.run(
            command, cwd=recipe.directory, env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BuildFailed(f"{' '.join(command)}\n{done.stderr[-4000:]}")
        made.rename(kept / program)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
