"""Gives the tests an API server, or says why there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.control_plane.ground import Ground, available, ground


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Ground]:
    """An API server in which nothing of the mesh is installed."""
    if not available():
        pytest.skip("needs etcd, and kube-apiserver in the directory that KUBERNETES_BIN names")
    with ground(tmp_path) as one:
        yield one


@pytest.fixture
def cluster(bare: Ground) -> Ground:
    bare.prepare()
    return bare
