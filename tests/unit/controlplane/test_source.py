"""The directory of manifests: what is read, what is left alone, and what is said of bad input."""

from pathlib import Path

import pytest
import structlog

from controlplane import source
from controlplane.source import ManifestDirectory
from mesh.catalogue.changes import ObjectChange
from runtime import manifests_on_disk

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
POD = "kind: Pod\napiVersion: v1\nmetadata: {name: a, namespace: shop}\nspec: {containers: [{name: c}]}\n"


class Follower:
    """A directory and what it published: for each reading the kinds that came, and with a "-" those that went."""

    def __init__(self, path: Path) -> None:
        self.published: list[list[str]] = []
        self.directory = ManifestDirectory(path, self.publish)

    async def publish(self, changes: list[ObjectChange]) -> None:
        self.published.append([("" if one.value is not None else "-") + one.key.kind for one in changes])


async def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests_on_disk, "MAX_FILE_CHARACTERS", 100)
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    (tmp_path / "b.yaml").write_text("x" * 101)
    follower = Follower(tmp_path)
    with structlog.testing.capture_logs() as logs:
        await follower.directory.refresh()
    assert [(log["key"], log["expected"]) for log in logs] == [("a.yaml", "UTF-8"), ("b.yaml", "at most 100 bytes")]
    assert follower.published == []


async def test_files_are_bounded_and_read_once_they_are_few_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILES", 1)
    (tmp_path / "a.yaml").write_text(NAMESPACE)
    (tmp_path / "b.yaml").write_text("")
    follower = Follower(tmp_path)
    with structlog.testing.capture_logs() as logs:
        await follower.directory.refresh()
    assert [log["expected"] for log in logs] == ["at most 1 files"]
    (tmp_path / "b.yaml").unlink()
    await follower.directory.refresh()
    assert follower.published == [["Namespace"]]


async def test_an_error_is_logged_once_and_the_last_good_state_stays(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    with structlog.testing.capture_logs() as logs:
        (tmp_path / "a.yaml").write_text(NAMESPACE)
        await follower.directory.refresh()
        (tmp_path / "b.yaml").write_text(POD.replace("[{name: c}]", "7"))
        await follower.directory.refresh()
        (tmp_path / "a.yaml").write_text(NAMESPACE + "---\n")
        (tmp_path / "c.yaml").write_text(POD)
        await follower.directory.refresh()
        (tmp_path / "b.yaml").unlink()
        await follower.directory.refresh()
        await follower.directory.refresh()
    errors = [(log["key"], log["value"]) for log in logs if log["event"] == "manifest_invalid"]
    assert errors == [("b.yaml:1:spec.containers", 7)]
    assert [log["event"] for log in logs][-2:] == ["manifests_valid_again", "manifests_read"]
    assert follower.published == [["Namespace"], ["Pod"]]


async def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    (tmp_path / "a.yaml").write_text(NAMESPACE)
    (tmp_path / "b.yaml").write_text(POD)
    await follower.directory.refresh()
    with structlog.testing.capture_logs() as logs:
        (tmp_path / "b.yaml").write_text(POD + "# changed, and says the same\n")
        await follower.directory.refresh(frozenset({"b.yaml"}))
        (tmp_path / "b.yaml").unlink()
        await follower.directory.refresh(frozenset({"b.yaml"}))
    assert [(log["files"], log["read"], log["changes"]) for log in logs] == [(2, 1, 0), (1, 1, 1)]
    assert follower.published == [["Namespace", "Pod"], ["-Pod"]]


async def test_a_directory_that_vanishes_leaves_the_last_good_state(tmp_path: Path) -> None:
    place = tmp_path / "manifests"
    place.mkdir()
    follower = Follower(place)
    with structlog.testing.capture_logs() as logs:
        await follower.directory.refresh()
        place.rmdir()
        await follower.directory.refresh()
        await follower.directory.refresh()
        place.mkdir()
        (place / "a.yaml").write_text(NAMESPACE)
        await follower.directory.refresh()
    assert [log["event"] for log in logs].count("manifest_invalid") == 1
    assert follower.published == [[], ["Namespace"]]
