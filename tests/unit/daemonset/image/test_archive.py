"""The archive is what containerd, podman and docker read: every digest is that of what it names."""

import gzip
import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from daemonset.image.archive import Layer, write_archive
from daemonset.image.tree import pack

NAME = "localhost/ambient-mesh:9.9"


def _layer(path: Path, text: str) -> Layer:
    return Layer.compress(pack(lambda root: (root / "file").write_text(text) and None), path)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    write_archive(tmp_path / "image.tar", NAME, "9.9", [_layer(tmp_path / "1", "one"), _layer(tmp_path / "2", "two")])
    with tarfile.open(tmp_path / "image.tar") as tar:
        return {one.name: file.read() for one in tar.getmembers() if (file := tar.extractfile(one)) is not None}


def test_blobs_are_named_by_what_they_hold(files: dict[str, bytes]) -> None:
    blobs = {path: content for path, content in files.items() if path.startswith("blobs/")}
    assert len(blobs) == 4
    assert all(path == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for path, content in blobs.items())


def test_the_index_leads_to_the_layers(files: dict[str, bytes]) -> None:
    (named,) = json.loads(files["index.json"])["manifests"]
    assert named["annotations"]["io.containerd.image.name"] == NAME
    manifest = json.loads(files[_path(named["digest"])])
    config = json.loads(files[_path(manifest["config"]["digest"])])
    layers = [files[_path(one["digest"])] for one in manifest["layers"]]
    assert [len(one) for one in layers] == [one["size"] for one in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(gzip.decompress(one)).hexdigest()}" for one in layers]
    assert config["config"]["User"] == "65532:65532"


def test_docker_finds_the_same(files: dict[str, bytes]) -> None:
    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == [NAME]
    assert {docker["Config"], *docker["Layers"]} <= files.keys()


def test_a_kept_layer_is_the_one_that_was_made(tmp_path: Path) -> None:
    made = _layer(tmp_path / "layer", "text")
    assert Layer.load(tmp_path / "layer") == made


def test_two_archives_are_the_same(tmp_path: Path) -> None:
    layers = [_layer(tmp_path / "1", "one")]
    first, second = (write_archive(tmp_path / name, NAME, "9.9", layers) for name in ("a", "b"))
    assert first == second
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
