"""`python -m daemonset.image`: builds the image as a file, or its root file system as a directory."""

import argparse
import sys
import time
import tomllib
from pathlib import Path

from daemonset.image.archive import Layer, write_archive
from daemonset.image.layers import add_debian, add_dependencies, add_project, cached_layer, fingerprint
from daemonset.image.tree import pack
from daemonset.image.trial import try_image

_PROJECT = Path(__file__).parents[2]
_STARTED_S = time.monotonic()


def main() -> int:
    """Returns the exit status; a program that fails says itself what was wrong."""
    version = tomllib.loads((_PROJECT / "pyproject.toml").read_text())["project"]["version"]
    parser = argparse.ArgumentParser(prog="python -m daemonset.image", description=__doc__)
    parser.add_argument("--output", type=Path, default=_PROJECT / f"dist/ambient-mesh-{version}.tar", help="the archive to write")
    parser.add_argument("--name", default=f"localhost/ambient-mesh:{version}", help="the image's name")
    parser.add_argument("--refresh", action="store_true", help="take what Debian has now, also where an earlier build's layer is kept")
    parser.add_argument("--root", type=Path, help="write the root file system into this new directory, and no archive (for Containerfile)")
    options = parser.parse_args()
    if options.root:
        return _write_root(options.root)
    cache = _PROJECT / "dist/image-layers"
    cache.mkdir(parents=True, exist_ok=True)
    debian = cached_layer(cache, "debian", fingerprint(), add_debian, _say, refresh=options.refresh)
    dependencies = cached_layer(cache, "dependencies", fingerprint(_PROJECT / "requirements-runtime.lock"), add_dependencies, _say)
    own = Layer.compress(pack(add_project), cache / "project.tar.gz")
    _say(f"project: {own}")
    layers = (debian, dependencies, own)
    try_image(layers)
    _say("tried: all programs load")
    digest = write_archive(options.output, options.name, version, layers)
    unpacked = sum(layer.unpacked_bytes for layer in layers)
    _say(f"{options.output}: {options.output.stat().st_size / 1e6:.0f} MB, {unpacked / 1e6:.0f} MB unpacked")
    _say(f"{options.name}@{digest}")
    return 0


def _write_root(root: Path) -> int:
    root.mkdir(parents=True)
    for add in (add_debian, add_dependencies, add_project):
        add(root)
        _say(add.__name__.removeprefix("add_"))
    return 0


def _say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED_S:5.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
