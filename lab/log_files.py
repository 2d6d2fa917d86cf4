"""Logs lie in memory (/run), so that they must not grow without end."""

import asyncio
import os
import shutil
from pathlib import Path

# Per file, twice at most: the log and what came before it.
MAX_LOG_BYTES = 32 * 2**20
_CHECK_EVERY_S = 10.0


async def keep_small(directory: Path) -> None:
    """Runs until cancelled."""
    while True:
        await asyncio.sleep(_CHECK_EVERY_S)
        await asyncio.to_thread(rotate_large, directory, MAX_LOG_BYTES)


def rotate_large(directory: Path, max_bytes: int) -> None:
    """Moves what large logs hold to NAME.log.1. Writers append, so that they go on at the start; a line written in between is lost."""
    for log in directory.rglob("*.log"):
        if log.stat().st_size > max_bytes:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
