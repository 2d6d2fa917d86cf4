"""Files below another root: its links lead into it, and nothing leads out of it."""

import os
from pathlib import Path

import pytest

from daemonset.kubernetes.node_files import open_on_node


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/run/netns").mkdir(parents=True)
    (tmp_path / "root/run/netns/pod").write_text("a namespace")
    (tmp_path / "root/var").mkdir()
    (tmp_path / "root/var/run").symlink_to("/run")
    (tmp_path / "secret").write_text("not of the node")
    return tmp_path / "root"


@pytest.mark.parametrize("path", ["/run/netns/pod", "/var/run/netns/pod", "/../../run/netns/pod"])
def test_a_file_of_the_node(root: Path, path: str) -> None:
    with os.fdopen(open_on_node(root, path)) as file:
        assert file.read() == "a namespace"


@pytest.mark.parametrize("path", ["/../secret", "/run/none", "/etc/passwd"])
def test_nothing_else(root: Path, path: str) -> None:
    with pytest.raises(OSError):
        open_on_node(root, path)
