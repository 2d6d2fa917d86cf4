"""Gives the tests an API server with etcd, and nothing else of a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api_server.ground import Ground, ground


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Ground]:
    """An API server in which nothing of the mesh is installed."""
    with ground(tmp_path) as one:
        yield one


@pytest.fixture
def cluster(bare: Ground) -> Ground:
    bare.prepare()
    return bare
