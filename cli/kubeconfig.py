"""Which cluster a command talks to: what `kubectl` would talk to."""

from collections.abc import Mapping
from pathlib import Path

# Source: Kubernetes, "Organizing Cluster Access Using kubeconfig Files".
_USUAL = Path(".kube/config")
DEFAULT_NAMESPACE = "ambient-system"


def find_kubeconfig(given: Path | None, env: Mapping[str, str]) -> Path | None:
    """Returns the file to read; None: this is a pod of the cluster.

    Args:
        given: by an option; it wins.
    """
    if given is not None:
        return given
    # Of several files kubectl merges; the first one that is there mostly has all.
    listed = [Path(one) for one in env.get("KUBECONFIG", "").split(":") if one]
    if listed:
        return next((one for one in listed if one.exists()), listed[0])
    usual = Path(env.get("HOME", "/")) / _USUAL
    return None if "KUBERNETES_SERVICE_HOST" in env and not usual.exists() else usual
