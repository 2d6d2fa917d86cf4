"""Files that others read while they are written: whole or not at all, and on the disk before anybody relies on them."""

import contextlib
import errno
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
# What is being written has its name within milliseconds; clocks of several machines and a slow disk included, this is not being written.
ABANDONED_S = 3600.0
# What tempfile.mkstemp puts between our name and its own.
_SCRATCH = re.compile(r"\.(.+)\.[a-z0-9_]{8}")


def write_new(path: Path, content: bytes, mode: int) -> bool:
    """Puts a new file in place; one that is there already wins, and then this returns False.

    Of several processes that do this at once one alone succeeds, on network file systems too: a hard link is made or is not.
    Raises:
        OSError: it cannot be written.
    """
    with _scratch(path, content, mode) as scratch:
        try:
            os.link(scratch, path)
        except FileExistsError:
            return False
        finally:
            scratch.unlink()
    return True


def write_over(path: Path, content: bytes, mode: int) -> None:
    """Puts a file in place of whatever is there. Raises OSError when it cannot be written."""
    with _scratch(path, content, mode) as scratch:
        try:
            scratch.replace(path)
        except OSError:
            scratch.unlink()
            raise


def sweep(directory: Path, names: re.Pattern[str]) -> None:
    """Removes what crashes have left of files with these names: it may be a key's. Raises OSError."""
    for path in directory.iterdir():
        match = _SCRATCH.fullmatch(path.name)
        if match is None or not names.fullmatch(match[1]):
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime > ABANDONED_S:
                path.unlink()


def read_bounded(path: Path, limit: int) -> bytes:
    """Reads a file of at most so many bytes.

    Raises:
        OSError: it cannot be read (FileNotFoundError: it is not there) or is larger.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return content


@contextlib.contextmanager
def _scratch(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Gives a complete file beside `path`, which the block gives its name or removes; then brings the directory to the disk."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        try:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        except OSError:
            Path(name).unlink()
            raise
    yield Path(name)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
