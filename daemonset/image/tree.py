"""A directory as a tar that depends on nothing but the names, contents and modes of what is in it."""

import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

# 2020-02-02, which is also what hatchling writes into wheels: a time that means nothing, later than 1980 where ZIP begins.
EPOCH_S = 1_580_601_600


def pack(fill: Callable[[Path], None]) -> bytes:
    """Returns the tar of what `fill` puts into an empty directory: sorted, owned by root, all of one time."""
    with tempfile.TemporaryDirectory(prefix="ambient-image-") as scratch:
        root = Path(scratch)
        fill(root)
        return _tar(root)


def _tar(root: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*"), key=os.fsencode):
            entry = tar.gettarinfo(path, str(path.relative_to(root)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = EPOCH_S
            # Hard links depend on which name comes first; small files twice cost less than a rule.
            if entry.islnk():
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
            with path.open("rb") if entry.isreg() else io.BytesIO() as content:
                tar.addfile(entry, content)
    return packed.getvalue()
