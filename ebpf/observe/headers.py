"""Finds kernel headers for bcc. Its program takes offsets from BTF, so headers of another version than the kernel's serve."""

from dataclasses import dataclass
from pathlib import Path

# Where a tree can be recognised: the first file that bcc includes, and what a configured kernel generates.
_SOURCE_FILE = "include/linux/kconfig.h"
_BUILD_FILE = "include/generated/autoconf.h"
_GENERATED = ("include", "include/generated/uapi", "arch/*/include/generated", "arch/*/include/generated/uapi")


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers of one kernel version.

    Args:
        source: what bcc takes as BCC_KERNEL_SOURCE.
        flags: further include directories, where a distribution keeps what was generated apart from the source.
    """

    source: Path
    flags: tuple[str, ...]


def find_headers(root: Path, release: str) -> Headers | None:
    """The headers of the running kernel, else the first that are installed, else None.

    Args:
        root: of the file system, "/" outside tests.
        release: of the running kernel, as uname -r prints it.
    """
    installed = sorted((root / "lib/modules").glob("*"), key=lambda directory: directory.name != release)
    pairs = [(directory / "source", directory / "build") for directory in installed]
    pairs += [(directory, directory) for _, directory in pairs]
    pairs += [(directory, directory) for directory in sorted((root / "usr/src").glob("linux-headers-*"))]
    for source, build in pairs:
        if (source / _SOURCE_FILE).exists() and (build / _BUILD_FILE).exists():
            return Headers(source.resolve(), _include_flags(source.resolve(), build.resolve()))
    return None


def _include_flags(source: Path, build: Path) -> tuple[str, ...]:
    if source == build:
        return ()
    return tuple(f"-I{directory}" for pattern in _GENERATED for directory in sorted(build.glob(pattern)))
