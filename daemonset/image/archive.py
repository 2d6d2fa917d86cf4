"""The image as one file: an OCI image layout, which `ctr images import` and `podman load` read, with Docker's manifest.json beside it.

Sources: OCI image specification 1.1, image-layout.md, config.md, manifest.md; Docker image specification 1.2.
"""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from daemonset.image.tree import EPOCH_S

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Nobody's in /etc/passwd of the layer "debian". The pods of the chart that need root say so themselves.
_USER = "65532:65532"
_MEDIA = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it lies in a file.

    Args:
        content: the compressed tar.
        diff_id: "sha256:..." of the tar before it was compressed.
        unpacked_bytes: of the tar.
    """

    content: bytes
    diff_id: str
    unpacked_bytes: int

    @classmethod
    def compress(cls, packed: bytes, path: Path) -> Self:
        """Compresses a tar and keeps it in a file."""
        content = gzip.compress(packed, compresslevel=9, mtime=0)
        path.write_bytes(content)
        return cls(content, _digest(packed), len(packed))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `compress` kept.

        Raises:
            OSError, EOFError: there is none, or half of one.
        """
        content = path.read_bytes()
        packed = gzip.decompress(content)
        return cls(content, _digest(packed), len(packed))

    def __str__(self) -> str:
        return f"{len(self.content) / 1e6:.1f} MB, {self.unpacked_bytes / 1e6:.1f} MB unpacked"


def write_archive(output: Path, name: str, version: str, layers: Sequence[Layer]) -> str:
    """Writes the archive; returns the digest of the image's manifest."""
    blobs: dict[str, bytes] = {}

    def add(kind: str, content: bytes) -> dict[str, Any]:
        digest = _digest(content)
        blobs[f"blobs/sha256/{digest.removeprefix('sha256:')}"] = content
        return {"mediaType": f"{_MEDIA}.{kind}", "digest": digest, "size": len(content)}

    config = add("config.v1+json", _json(_config(version, layers)))
    listed = [add("layer.v1.tar+gzip", layer.content) for layer in layers]
    manifest = add(
        "manifest.v1+json",
        _json({"schemaVersion": 2, "mediaType": f"{_MEDIA}.manifest.v1+json", "config": config, "layers": listed}),
    )
    named = manifest | {"annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}}
    paths = {str(one["digest"]): f"blobs/{str(one['digest']).replace(':', '/')}" for one in (config, *listed)}
    docker = {"Config": paths[config["digest"]], "RepoTags": [name], "Layers": [paths[one["digest"]] for one in listed]}
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [named]}),
        "manifest.json": _json([docker]),
        **blobs,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(content), EPOCH_S
            tar.addfile(entry, io.BytesIO(content))
    return str(manifest["digest"])


def _config(version: str, layers: Sequence[Layer]) -> dict[str, Any]:
    return {
        "created": datetime.fromtimestamp(EPOCH_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {
            "User": _USER,
            "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"],
            "Cmd": ["ambient", "--help"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "ambient-mesh",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
