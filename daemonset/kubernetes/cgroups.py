"""Whose a process is, by its control group. Pure."""

import re

# The kubelet's group of a pod: "pod<uid>" where it writes them itself, "kubepods-burstable-pod<uid with underscores>.slice" by systemd.
# Source: Kubernetes, pkg/kubelet/cm/pod_container_manager_linux.go and cgroup_manager_linux.go (the names are what users see in /proc).
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})(?=[./\n]|$)")


def pod_uid(cgroups: str) -> str | None:
    """Finds the uid of the pod that a process belongs to.

    Args:
        cgroups: /proc/PID/cgroup, of version 1 or 2.
    Returns:
        None: it belongs to none. Where groups are nested (a node that is a container of another cluster's pod), the innermost pod.
    """
    found = _POD.findall(cgroups)
    return found[-1].replace("_", "-") if found else None
