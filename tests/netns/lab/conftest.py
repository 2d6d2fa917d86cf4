"""Labs of these tests' own: names that no other run has, always taken down."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import api
from lab.api import Lab
from lab.layout import Layout
from lab.options import Options

_numbers = itertools.count()


def fresh_layout() -> Layout:
    return Layout(f"t{os.getpid()}x{next(_numbers)}")


@pytest.fixture
def layout() -> Iterator[Layout]:
    """The name of a lab that is not up; whatever the test makes of it is gone afterwards."""
    layout = fresh_layout()
    yield layout
    api.down(layout)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of two nodes without the mesh, with the sample pods."""
    layout = fresh_layout()
    yield api.up(layout, Options(mesh=False), api.read_manifests(Path(api.__file__).parent / "manifests"))
    api.down(layout)
