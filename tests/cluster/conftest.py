"""One cluster for all tests of a run, gone afterwards."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, down, find, up
from tests.cluster.mesh import Mesh, Stream, client, servers

# AMBIENT_TEST_CLUSTER names one that is there already, and stays.
_KEPT = "AMBIENT_TEST_CLUSTER"
# Requests a second, each on a connection of its own.
RATE = 500


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes of a current Kubernetes, with DNS."""
    kept = os.environ.get(_KEPT)
    if kept:
        yield _kept(kept)
        return
    # The number of a process is nobody else's while it runs, and seven digits at most.
    name = f"t{os.getpid()}"
    try:
        yield up(name)
    finally:
        down(name)


def _kept(name: str) -> Cluster:
    found = find(name)
    assert found is not None, f"{_KEPT}={name}: there is no such cluster"
    return found


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**8}"
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def mesh(cluster: Cluster) -> Iterator[Mesh]:
    """The mesh of this checkout, installed by Helm; the tests of uninstalling take it away and put it back."""
    mesh = Mesh(cluster)
    mesh.install()
    yield mesh
    if os.environ.get(_KEPT):
        mesh.uninstall()


@pytest.fixture
def stream(mesh: Mesh, namespace: str) -> Stream:
    """A web server on each node, and a pod that sends RATE requests a second to their service. The namespace is not in the mesh."""
    kubectl = mesh.cluster.kubectl
    kubectl.apply(servers(), "-n", namespace)
    kubectl("rollout", "status", "daemonset/web", "-n", namespace, "--timeout=60s")
    kubectl.apply(client(RATE), "-n", namespace)
    kubectl("wait", "--for=condition=Ready", "pod/load", "-n", namespace, "--timeout=60s")
    stream = Stream(mesh.cluster, namespace)
    stream.goes_on()
    assert stream.failures() == []
    return stream
