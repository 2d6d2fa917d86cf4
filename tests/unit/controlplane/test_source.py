"""The directory of manifests: what is read, what is left alone, and what is said of bad input."""

import os
from pathlib import Path

import pytest
import structlog

from controlplane import source
from controlplane.source import ManifestDirectory, read_files, scan
from mesh.errors import ConfigErrors
from mesh.manifests import Manifests

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_manifests_are_regular_files_of_the_two_suffixes(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", ".c.yaml", "d.json", "e.yaml~"):
        (tmp_path / name).write_text(NAMESPACE)
    (tmp_path / "f.yaml").mkdir()
    os.mkfifo(tmp_path / "g.yaml")
    (tmp_path / "h.yaml").symlink_to("nowhere")
    (tmp_path / "i.yaml").symlink_to("a.yaml")
    assert list(read_files(tmp_path, scan(tmp_path))) == ["a.yaml", "b.yml", "i.yaml"]


def test_a_change_of_content_changes_the_signature(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(NAMESPACE)
    before = scan(tmp_path)
    assert scan(tmp_path) == before
    (tmp_path / "a.yaml").write_text(NAMESPACE + "#")
    assert scan(tmp_path) != before


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILE_CHARACTERS", 100)
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    (tmp_path / "b.yaml").write_text("x" * 101)
    with pytest.raises(ConfigErrors) as wrong:
        read_files(tmp_path, scan(tmp_path))
    assert [(error.key, error.expected) for error in wrong.value.errors] == [("a.yaml", "UTF-8"), ("b.yaml", "at most 100 bytes")]


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILES", 1)
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").write_text("")
    with pytest.raises(ConfigErrors, match="at most 1 files"):
        read_files(tmp_path, scan(tmp_path))


async def test_an_error_is_logged_once_and_the_last_good_state_stays(tmp_path: Path) -> None:
    published: list[Manifests] = []
    directory = ManifestDirectory(tmp_path, published.append)
    with structlog.testing.capture_logs() as logs:
        (tmp_path / "a.yaml").write_text(NAMESPACE)
        await directory.refresh()
        (tmp_path / "b.yaml").write_text("kind: Pod\napiVersion: v1\nmetadata: {name: a, namespace: shop}\nspec: {containers: 7}\n")
        await directory.refresh()
        (tmp_path / "a.yaml").write_text(NAMESPACE + "---\n")
        await directory.refresh()
        (tmp_path / "b.yaml").unlink()
        await directory.refresh()
        await directory.refresh()
    errors = [(log["key"], log["value"]) for log in logs if log["event"] == "manifest_invalid"]
    assert errors == [("b.yaml:1:spec.containers", 7)]
    assert [log["event"] for log in logs][-2:] == ["manifests_valid_again", "manifests_read"]
    assert len(published) == 2


async def test_a_directory_that_vanishes_leaves_the_last_good_state(tmp_path: Path) -> None:
    published: list[Manifests] = []
    place = tmp_path / "manifests"
    place.mkdir()
    directory = ManifestDirectory(place, published.append)
    with structlog.testing.capture_logs() as logs:
        await directory.refresh()
        place.rmdir()
        await directory.refresh()
        await directory.refresh()
        place.mkdir()
        (place / "a.yaml").write_text(NAMESPACE)
        await directory.refresh()
    assert [log["event"] for log in logs].count("manifest_invalid") == 1
    assert ["shop" in manifests.namespaces for manifests in published] == [False, True]
