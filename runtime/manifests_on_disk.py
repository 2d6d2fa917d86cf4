"""A directory of manifests as it lies on the disk: when it changes, which files are manifests, and what is wrong with them."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import structlog
import watchfiles

from mesh.errors import ConfigError
from mesh.manifests import SUFFIXES, Reading, read_manifest
from mesh.yaml_documents import MAX_FILE_CHARACTERS

# One `kubectl apply` writes several files: wait until nothing came for STEP, and DEBOUNCE at most. A label reaches the nodes within 200 ms.
_STEP_MS = 20
_DEBOUNCE_MS = 100
# Notifications can be lost (a queue that overflows, a file system of another machine), and the target of a link changes without one:
# so often those who follow may look by themselves.
_RESCAN_MS = 1000

# What tells one reading of a file from the next without opening it: time of change, size, inode.
Stamp = tuple[int, int, int]


async def watch(*directories: Path, stopping: asyncio.Event) -> AsyncIterator[frozenset[str]]:
    """Yields the paths that changed in the directories, and none of them once a second without a change; ends when `stopping` is set."""
    changes = watchfiles.awatch(
        *directories,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        stop_event=stopping,
        rust_timeout=_RESCAN_MS,
        yield_on_timeout=True,
        recursive=False,
    )
    async for events in changes:
        yield frozenset(path for _, path in events)


def named(directory: Path, changed: Iterable[str]) -> frozenset[str] | None:
    """Returns the manifests among the paths that changed; None: one is something else, and any manifest may be another by it.

    A mounted ConfigMap changes by a link of another name.
    """
    paths = [Path(path) for path in changed]
    if not all(path.parent == directory and path.name.endswith(SUFFIXES) for path in paths):
        return None
    return frozenset(path.name for path in paths if is_manifest(path.name))


def is_manifest(name: str) -> bool:
    """Hidden files are none: editors and those who replace a file at once leave such for a moment."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def scan(directory: Path) -> dict[str, Stamp]:
    """Lists the manifests in a directory. Raises OSError."""
    with os.scandir(directory) as entries:
        found = ((entry.name, stamp(Path(entry.path))) for entry in entries if is_manifest(entry.name))
        return {name: one for name, one in found if one is not None}


def stamp(path: Path) -> Stamp | None:
    """Returns None for what is no regular file, or is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def read_file(directory: Path, name: str) -> Reading | None:
    """Reads a manifest; None: it is gone. What cannot be read is an error in the reading."""
    try:
        if (size := (directory / name).stat().st_size) > MAX_FILE_CHARACTERS:
            return Reading(errors=[ConfigError(name, size, f"at most {MAX_FILE_CHARACTERS} bytes")])
        return read_manifest(name, (directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        return Reading(errors=[ConfigError(name, f"byte {error.start}", "UTF-8")])
    except OSError as error:
        return Reading(errors=[ConfigError(name, error.strerror, "a readable file")])


class Complaints:
    """Logs what is wrong with manifests: each error once while it lasts, and that all are valid again."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._known: frozenset[str] = frozenset()

    def report(self, errors: tuple[ConfigError, ...]) -> None:
        """Takes all that is wrong now; nothing: all is well."""
        for error in errors:
            if str(error) not in self._known:
                self._log.error("manifest_invalid", key=error.key, value=error.value, expected=error.expected)
        if self._known and not errors:
            self._log.info("manifests_valid_again")
        self._known = frozenset(map(str, errors))
