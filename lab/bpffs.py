"""The lab's own bpffs, where its agents pin what they load: unmounted, everything in it is gone."""

import contextlib
import os
from pathlib import Path

from lab.netns import check, libc

_MNT_DETACH = 2
# Pins are the agent's alone. Source: the kernel's documentation of bpffs, mount option "mode".
_OPTIONS = b"mode=0700"


def mount_bpffs(path: Path) -> None:
    """Raises OSError: this kernel has no bpffs, or we may not mount it."""
    path.mkdir(mode=0o700, exist_ok=True)
    check(libc.mount(b"bpf", bytes(path), b"bpf", 0, _OPTIONS), f"mount bpffs on {path}")


def unmount(path: Path) -> None:
    """Takes pins away one by one first: another mount namespace may hold a copy of the mount, and with it every pin in it."""
    if not path.is_mount():
        return
    for directory, names, files in os.walk(path, topdown=False):
        for name in files:
            # The kernel's own entries (maps.debug, progs.debug) stay until the last.
            with contextlib.suppress(PermissionError):
                (Path(directory) / name).unlink(missing_ok=True)
        for name in names:
            (Path(directory) / name).rmdir()
    check(libc.umount2(bytes(path), _MNT_DETACH), f"unmount {path}")
