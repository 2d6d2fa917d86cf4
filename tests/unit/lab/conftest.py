"""A small cluster to look at, and a way to make others."""

import itertools
from collections.abc import Callable

import pytest

from lab.cluster import Cluster, apply, empty_cluster
from lab.documents import read_given
from lab.resolve import with_status

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node1, containers: [{name: main, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {containers: [{name: main, command: [serve], ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, labels: {app: web}}
spec: {containers: [{name: main, command: [serve], ports: [{name: http, containerPort: 8081}]}]}
"""

Build = Callable[..., Cluster]


@pytest.fixture
def build() -> Build:
    """Applies manifests to an empty cluster of two nodes, or to one that there is; uids count from uid-1."""
    numbers = itertools.count(1)

    def build_(text: str, onto: Cluster | None = None) -> Cluster:
        cluster = empty_cluster(("node1", "node2")) if onto is None else onto
        return apply(cluster, read_given({"test.yaml": text}), lambda: f"uid-{next(numbers)}")

    return build_


def all_ready(cluster: Cluster) -> Cluster:
    for key, entry in cluster.entries.items():
        if key[0] == "Pod":
            cluster = cluster.resolved(key, with_status(entry.resolved, "Running", ready=True, restarts={}))
    return cluster


@pytest.fixture
def web(build: Build) -> Cluster:
    """A client, and a service over two web pods; all ready."""
    return all_ready(build(WEB))
