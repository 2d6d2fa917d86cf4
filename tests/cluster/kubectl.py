"""kubectl, as people use it."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Nothing that is asked here takes longer; kubectl's own waiting has a limit of its own below it.
TIMEOUT_S = 180


class KubectlFailed(Exception):
    """With what it said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Args:
    programs: where kubectl is.
    kubeconfig: of the cluster.
    """

    programs: Path
    kubeconfig: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs it and returns its output.

        Raises:
            KubectlFailed: it exits with another status than 0.
        """
        command = [str(self.programs / "kubectl"), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=self.environment, timeout=TIMEOUT_S)
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """`kubectl get`, as JSON."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, manifest: str, *arguments: str) -> None:
        self("apply", "-f", "-", *arguments, stdin=manifest)
