"""Files of the node, opened as the node's own first process sees them."""

import ctypes
import os
import struct
from pathlib import Path

# Source: linux/openat2.h; the number is the same on all architectures that came after it, and on x86-64.
_SYS_OPENAT2 = 437
# Absolute symbolic links (/var/run is one) lead to the node's root, and ".." not out of it.
_RESOLVE_IN_ROOT = 0x10


def open_on_node(root: Path, path: str) -> int:
    """Opens a file below another root; the descriptor is the caller's.

    Args:
        root: of the node's file system, such as /proc/1/root.
        path: absolute, as the node has it.
    Raises:
        OSError: there is none, or the kernel is older than 5.6.
    Source: openat2(2).
    """
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    how = struct.pack("QQQ", os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        found: int = libc.syscall(_SYS_OPENAT2, directory, os.fsencode(path), how, len(how))
    finally:
        os.close(directory)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return found
