"""One cluster for all tests of a run, gone afterwards."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, down, find, up

# AMBIENT_TEST_CLUSTER names one that is there already, and stays.
_KEPT = "AMBIENT_TEST_CLUSTER"


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
