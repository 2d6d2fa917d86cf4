"""The same files give the same bytes, whoever made them, when, and in which order."""

import io
import os
import tarfile
from pathlib import Path

from daemonset.image.tree import EPOCH_S, pack


def _fill(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        os.utime(root / name, (0, len(name)))
    (root / "link").symlink_to("b")


def test_order_and_times_do_not_matter() -> None:
    forwards = pack(lambda root: _fill(root, ["a/x", "b", "a-z"]))
    backwards = pack(lambda root: _fill(root, ["a-z", "b", "a/x"]))
    assert forwards == backwards


def test_contents_and_modes_matter() -> None:
    def executable(root: Path) -> None:
        _fill(root, ["b"])
        (root / "b").chmod(0o755)

    assert pack(lambda root: _fill(root, ["b"])) != pack(executable)


def test_everything_is_roots_and_of_one_time() -> None:
    def hard_linked(root: Path) -> None:
        _fill(root, ["b"])
        os.chown(root / "b", os.getuid(), os.getgid())
        os.link(root / "b", root / "c")

    with tarfile.open(fileobj=io.BytesIO(pack(hard_linked))) as tar:
        entries = tar.getmembers()
        contents = {one.name: file.read() for one in entries if (file := tar.extractfile(one)) is not None and one.isreg()}
    assert [one.name for one in entries] == ["b", "c", "link"]
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in entries} == {(0, 0, "", "", EPOCH_S)}
    assert contents == {"b": b"b", "c": b"b"}
