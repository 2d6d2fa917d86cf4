"""One lab for each way of capture, up as long as tests use it."""

import os
import resource
import signal
import socket
from collections.abc import Iterator

import pytest

from lab.options import CAPTURE_MODES
from tests.netns.mesh.ground import FAMILIES, Mesh, mesh_of
from tests.netns.mesh.manifests import FAR, MESH, NEAR, PLAIN, TOGGLE, manifests

# A thousand connections at a time have both their ends in the test.
OPEN_FILES = 8192


@pytest.fixture(scope="session", autouse=True)
def _open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), max(OPEN_FILES, most)))


@pytest.fixture(scope="session", autouse=True)
def _ends_in_order() -> Iterator[None]:
    """A time limit around the tests must not leave a lab behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session", params=CAPTURE_MODES)
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with mesh_of(f"mesh{os.getpid()}{request.param[0]}", manifests(MESH, PLAIN, TOGGLE), capture=request.param) as mesh:
        yield mesh


@pytest.fixture(params=FAMILIES, ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    return request.param


@pytest.fixture(params=[FAR, NEAR])
def server_name(request: pytest.FixtureRequest) -> str:
    """The captured server on another node than the client, and the one beside it."""
    return request.param
