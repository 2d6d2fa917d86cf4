"""Puts what follows from the cluster where others read it: manifests, /etc/hosts of the pods, rules of the nodes."""

import os
import subprocess
from pathlib import Path

from lab import hosts, nftables
from lab.cluster import Cluster
from lab.documents import write_yaml
from lab.endpoints import virtual_ports
from lab.errors import LabError
from lab.layout import Layout
from lab.lifeline import in_netns
from lab.netns import netns_path

# No namespace has this name: theirs have no capital letters.
_CLUSTER_FILE = "CLUSTER"


class Publisher:
    """Writes what differs from the last time. Order: names, then manifests, then rules; a reader never sees half a file of manifests."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._manifests: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        self._rules: dict[str, str] = {}

    def publish(self, cluster: Cluster) -> None:
        """Raises LabError when a node does not take its rules; OSError when a file cannot be written."""
        for namespace in cluster.namespaces():
            self._publish_hosts(namespace, hosts.render(cluster, namespace))
        self._publish_manifests(_manifests(cluster))
        for node in cluster.nodes:
            self._publish_rules(node, nftables.render(virtual_ports(cluster, node)))

    def _publish_hosts(self, namespace: str, text: str) -> None:
        """In place: the pods have this very file mounted."""
        if self._hosts.get(namespace) == text:
            return
        fd = os.open(self._layout.hosts(namespace), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # Written over in one call and cut after it: a reader in between sees names twice, and never none.
            os.ftruncate(fd, os.pwrite(fd, text.encode(), 0))
        finally:
            os.close(fd)
        self._hosts[namespace] = text

    def _publish_manifests(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            if self._manifests.get(name) != text:
                _put(self._layout.manifests / name, text)
        for name in self._manifests.keys() - files.keys():
            (self._layout.manifests / name).unlink(missing_ok=True)
        self._manifests = files

    def _publish_rules(self, node: str, rules: str) -> None:
        if self._rules.get(node) == rules:
            return
        command = [*in_netns(netns_path(self._layout.node_netns(node))), "nft", "-f", "-"]
        done = subprocess.run(command, input=rules, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{node} does not take the rules of the services: {done.stderr.strip()}")
        self._rules[node] = rules


def _manifests(cluster: Cluster) -> dict[str, str]:
    """A file for each namespace, and one for what lies in none, objects in the order in which they refer to one another."""
    order = ("Namespace", "ServiceAccount", "Service", "Pod")
    files = {}
    for namespace in sorted({key[1] for key in cluster.entries}):
        keys = [key for key in cluster.entries if key[1] == namespace]
        keys.sort(key=lambda key: (order.index(key[0]) if key[0] in order else len(order), key))
        files[f"{namespace or _CLUSTER_FILE}.yaml"] = write_yaml(cluster.entries[key].resolved for key in keys)
    return files


def _put(path: Path, text: str) -> None:
    # The leading dot and the missing suffix keep readers of *.yaml away until it is whole.
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)
