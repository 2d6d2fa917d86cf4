"""A directory of manifests: which files count, when one counts as changed, and what is said of those that cannot be read."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog

from mesh.errors import ConfigError
from runtime.manifests_on_disk import Complaints, named, read_file, scan, watch

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_manifests_are_regular_files_of_the_suffixes(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", ".c.yaml", "d.json", "e.yaml~", "f.txt"):
        (tmp_path / name).write_text(NAMESPACE)
    (tmp_path / "f.yaml").mkdir()
    os.mkfifo(tmp_path / "g.yaml")
    (tmp_path / "h.yaml").symlink_to("nowhere")
    (tmp_path / "i.yaml").symlink_to("a.yaml")
    assert sorted(scan(tmp_path)) == ["a.yaml", "b.yml", "d.json", "i.yaml"]


def test_a_change_of_content_changes_the_stamp(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(NAMESPACE)
    before = scan(tmp_path)
    assert scan(tmp_path) == before
    (tmp_path / "a.yaml").write_text(NAMESPACE + "#")
    assert scan(tmp_path) != before


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (["/m/a.yaml", "/m/b.json"], {"a.yaml", "b.json"}),
        (["/m/.a.yaml", "/m/a.yaml"], {"a.yaml"}),
        (["/m/.a.yaml"], set()),
        (["/m/..data", "/m/a.yaml"], None),
        (["/m/sub/a.yaml"], None),
        ([], set()),
    ],
)
def test_a_change_names_the_files_to_look_at_or_all(changed: list[str], names: set[str] | None) -> None:
    assert named(Path("/m"), changed) == names


def test_a_file_that_went_is_none(tmp_path: Path) -> None:
    assert read_file(tmp_path, "a.yaml") is None


def test_what_is_no_file_is_an_error_in_the_reading(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    reading = read_file(tmp_path, "a.yaml")
    assert reading is not None
    assert [(error.key, error.expected) for error in reading.errors] == [("a.yaml", "a readable file")]


def test_each_error_is_told_once_while_it_lasts() -> None:
    a, b = ConfigError("a", 1, "2"), ConfigError("b", 1, "2")
    with structlog.testing.capture_logs() as logs:
        complaints = Complaints(structlog.get_logger())
        for errors in ((), (a,), (a, b), (b,), (), (), (a,)):
            complaints.report(errors)
    assert [(log["event"], log.get("key")) for log in logs] == [
        ("manifest_invalid", "a"),
        ("manifest_invalid", "b"),
        ("manifests_valid_again", None),
        ("manifest_invalid", "a"),
    ]


def test_watching_names_what_changed_and_ends_when_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        stopping = asyncio.Event()
        async with asyncio.timeout(10):
            async for paths in watch(tmp_path, stopping=stopping):
                if paths:
                    assert paths == {str(tmp_path / "a.yaml")}
                    stopping.set()
                else:
                    (tmp_path / "a.yaml").write_text(NAMESPACE)

    asyncio.run(scenario())
