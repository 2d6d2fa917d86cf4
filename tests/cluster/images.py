"""Images without a registry: a directory becomes an archive that containerd takes."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.layout import Layout
from tests.cluster.node import PAUSE_IMAGE, ctr

TOOLS_IMAGE = "localhost/tools:1"
COREDNS_IMAGE = "localhost/coredns:1"
_PAUSE = b"#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
_BUSYBOX_COMMANDS = ("sh", "cat", "echo", "httpd", "ip", "ls", "nc", "seq", "sleep", "touch", "tr")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageRefused(Exception):
    """With what containerd said."""


def basic_images(scratch: Path, coredns: Path) -> list[Path]:
    """The images that every cluster has: of pods' sandboxes, a shell with curl and a web server, and the DNS server."""
    pause = scratch / "pause"
    compiled = subprocess.run(["gcc", "-static", "-Os", "-x", "c", "-o", str(pause), "-"], input=_PAUSE, capture_output=True, check=False)
    assert compiled.returncode == 0, compiled.stderr.decode()
    busybox, curl = _installed("busybox"), _installed("curl")
    links = {f"bin/{name}": "busybox" for name in _BUSYBOX_COMMANDS}
    return [
        make_image(scratch, PAUSE_IMAGE, {"pause": pause}, {}, ["/pause"]),
        make_image(scratch, TOOLS_IMAGE, {"bin/busybox": busybox, "bin/curl": curl, **_libraries(curl)}, links, ["/bin/sh"]),
        make_image(scratch, COREDNS_IMAGE, {"coredns": coredns}, {}, ["/coredns"]),
    ]


def _installed(program: str) -> Path:
    found = shutil.which(program)
    assert found, f"{program} is installed, by `make cluster-packages`"
    return Path(found)


def _libraries(program: Path) -> dict[str, Path]:
    """The shared libraries of a program and the loader, by their places in the image; the C library brings its resolver along."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    paths = [Path(word) for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    return {str(path).lstrip("/"): path for path in paths}


def make_image(scratch: Path, tag: str, files: Mapping[str, Path], links: Mapping[str, str], entrypoint: Sequence[str]) -> Path:
    """Makes an image of one layer, as `docker save` writes them.

    Args:
        files: what each executable of the image is here.
        links: symbolic ones.
    """
    layer = _layer(files, links)
    config = {
        "architecture": _ARCHITECTURES[_machine()],
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    archive = scratch / f"{tag.rpartition('/')[2].replace(':', '-')}.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in (("manifest.json", json.dumps(manifest)), ("config.json", json.dumps(config)), ("layer.tar", layer)):
            _add(tar, name, data.encode() if isinstance(data, str) else data, 0o644)
    return archive


def _machine() -> str:
    return subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()


def _layer(files: Mapping[str, Path], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("www", 0o777)):
            made = tarfile.TarInfo(directory)
            made.type, made.mode = tarfile.DIRTYPE, mode
            tar.addfile(made)
        for name, source in files.items():
            _add(tar, name, source.read_bytes(), 0o755)
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    tar.addfile(member, io.BytesIO(data))


def load(layout: Layout, *archives: Path) -> None:
    """Gives images to every node.

    Raises:
        ImageRefused: containerd does not take one.
    """
    for node in layout.nodes:
        for archive in archives:
            done = ctr(node, "images", "import", str(archive))
            if done.returncode:
                raise ImageRefused(f"{archive.name} on {node.name}: {done.stderr.strip()}")


def load_basics(layout: Layout, coredns: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="images-") as scratch:
        load(layout, *basic_images(Path(scratch), coredns))
