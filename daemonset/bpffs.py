"""The BPF file system that pins live in."""

import ctypes
import os
from pathlib import Path

_LINE_MOUNT_POINT, _SEPARATOR = 4, "-"
# Where every tool looks for it. Source: the kernel's documentation of bpffs.
_USUAL = Path("/sys/fs/bpf")


def mount_bpffs(path: Path) -> None:
    """Makes the directory, on a BPF file system: where there is none, one is mounted at /sys/fs/bpf if that is above, else at the path.

    Raises:
        OSError: it cannot be mounted or made.
    """
    place = path
    while not place.exists():
        place = place.parent
    if not _is_bpffs(place.resolve()):
        point = _USUAL if path.is_relative_to(_USUAL) else path
        point.mkdir(parents=True, exist_ok=True)
        if ctypes.CDLL(None, use_errno=True).mount(b"bpf", os.fsencode(point), b"bpf", 0, b"mode=0700") != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"mount a BPF file system at {point}: {os.strerror(error)}")
    path.mkdir(parents=True, exist_ok=True)


def _is_bpffs(path: Path) -> bool:
    """Whether the mount that holds the path is a BPF file system."""
    kinds: dict[Path, str] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        kinds[Path(fields[_LINE_MOUNT_POINT])] = fields[fields.index(_SEPARATOR) + 1]
    return next((kinds[place] == "bpf" for place in (path, *path.parents) if place in kinds), False)
