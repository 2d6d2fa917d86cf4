"""What the agent needs mounted: the BPF file system that pins live in, and kernel settings that can be written."""

import ctypes
import os
from pathlib import Path

_LINE_MOUNT_POINT, _SEPARATOR = 4, "-"
# Where every tool looks for it. Source: the kernel's documentation of bpffs.
_USUAL = Path("/sys/fs/bpf")
_SYSCTLS = Path("/proc/sys")
# Source: linux/mount.h. A bind mount is remounted alone; the file system below it stays as it is.
_MS_REMOUNT, _MS_BIND = 0x20, 0x1000


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
        _mount(b"bpf", point, b"bpf", 0, b"mode=0700")
    path.mkdir(parents=True, exist_ok=True)


def unlock_sysctls() -> None:
    """Makes /proc/sys writable where a container has it read-only: settings of pods' network namespaces are part of capture.

    Raises:
        OSError: it cannot be; CAP_SYS_ADMIN is missing, or AppArmor forbids it.
    """
    if os.statvfs(_SYSCTLS).f_flag & os.ST_RDONLY:
        _mount(b"none", _SYSCTLS, b"", _MS_REMOUNT | _MS_BIND, None)


def _mount(source: bytes, target: Path, kind: bytes, flags: int, data: bytes | None) -> None:
    if ctypes.CDLL(None, use_errno=True).mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), data) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {target}: {os.strerror(error)}")


def _is_bpffs(path: Path) -> bool:
    """Whether the mount that holds the path is a BPF file system."""
    kinds: dict[Path, str] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        kinds[Path(fields[_LINE_MOUNT_POINT])] = fields[fields.index(_SEPARATOR) + 1]
    return next((kinds[place] == "bpf" for place in (path, *path.parents) if place in kinds), False)
