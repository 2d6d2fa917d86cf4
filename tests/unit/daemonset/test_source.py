"""What the agent reads from the file system, and what it makes of what is broken there."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog.testing

from daemonset.source import ManifestReader, rounds, scan_netns

GOOD = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_a_change_is_read_and_a_mistake_leaves_the_last_good_state(tmp_path: Path) -> None:
    reader = ManifestReader(tmp_path)
    (tmp_path / "a.yaml").write_text(GOOD)
    first = reader.refresh()
    assert first is not None
    assert "shop" in first.namespaces
    (tmp_path / "b.yml").write_text("kind: [")
    with structlog.testing.capture_logs() as logs:
        assert reader.refresh() is first
        assert reader.refresh() is first
    assert [entry["event"] for entry in logs] == ["manifest_invalid"]
    (tmp_path / "b.yml").write_text(GOOD.replace("shop", "bank"))
    with structlog.testing.capture_logs() as logs:
        assert "bank" in reader.refresh().namespaces
    assert [entry["event"] for entry in logs] == ["manifests_valid_again"]


def test_what_does_not_change_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    reader = ManifestReader(tmp_path)
    assert reader.refresh() is reader.refresh()


@pytest.mark.parametrize(("name", "content"), [("a.yaml", b"\xff\xfe"), ("a.yaml", b"kind: [")])
def test_before_the_first_good_reading_there_is_none(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        assert ManifestReader(tmp_path).refresh() is None
    assert [entry["event"] for entry in logs] == ["manifest_invalid"]


def test_hidden_and_other_files_are_no_manifests(tmp_path: Path) -> None:
    for name in (".a.yaml", "notes.txt"):
        (tmp_path / name).write_text("kind: [")
    assert ManifestReader(tmp_path).refresh() is not None


def test_a_directory_that_goes_is_told_once(tmp_path: Path) -> None:
    directory = tmp_path / "manifests"
    directory.mkdir()
    reader = ManifestReader(directory)
    good = reader.refresh()
    directory.rmdir()
    with structlog.testing.capture_logs() as logs:
        assert reader.refresh() is good
        assert reader.refresh() is good
    assert len(logs) == 1


def test_only_other_network_namespaces_count(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "own").symlink_to("/proc/self/ns/net")
    assert scan_netns(tmp_path) == {}


def test_a_round_begins_at_once_and_upon_a_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        stopping = asyncio.Event()
        seen = rounds((tmp_path,), stopping)
        async with asyncio.timeout(5):
            await anext(seen)
            (tmp_path / "new").symlink_to(os.devnull)
            await anext(seen)
            stopping.set()
            assert [one async for one in seen] in ([], [None])

    asyncio.run(scenario())
