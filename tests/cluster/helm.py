"""Helm, as people use it."""

import json
import os
import subprocess
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.programs import HELM, programs

CHART = Path(__file__).parents[2] / "daemonset/chart"
TIMEOUT_S = 180


class HelmFailed(Exception):
    """With what it said."""


def helm(cluster: Cluster, *arguments: str) -> str:
    """Runs it and returns its output.

    Raises:
        HelmFailed: it exits with another status than 0.
    """
    environment = {**os.environ, "KUBECONFIG": str(cluster.layout.kubeconfig)}
    command = [str(programs(HELM) / "helm"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=TIMEOUT_S)
    if done.returncode:
        raise HelmFailed(f"helm {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def render(cluster: Cluster, *arguments: str) -> str:
    """What the chart would be in this cluster."""
    version = json.loads(cluster.kubectl("get", "--raw", "/version"))["gitVersion"]
    return helm(cluster, "template", "ambient", str(CHART), "--namespace", "ambient-system", "--kube-version", version, *arguments)
