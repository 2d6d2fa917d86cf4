"""The directory of manifests as a source of changes: read, re-read where it changed, the last good state kept."""

import asyncio
import contextlib
import gc
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import watchfiles

from controlplane.manifest_files import ManifestFiles
from mesh.catalogue.changes import ObjectChange
from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import SUFFIXES, Reading, read_manifest
from mesh.yaml_documents import MAX_FILE_CHARACTERS

_log = structlog.get_logger()
# A cluster of 100,000 workloads in one file per object, and as many other objects.
MAX_FILES = 250_000
# One `kubectl apply` writes several files: wait until nothing came for STEP, and DEBOUNCE at most. A label reaches the nodes within 200 ms.
STEP_MS = 20
DEBOUNCE_MS = 100
# Notifications can be lost (a queue that overflows, a file system of another machine), and the target of a link changes without one:
# a look at names, times and sizes is cheap. In a directory of many files it takes this share of the time at most.
RESCAN_MS = 1000
RESCAN_SHARE = 0.02

# Objects of other kinds that a log line names.
MAX_LOGGED = 20

# What tells one reading of a file from the next without opening it: time of change, size, inode.
Stamp = tuple[int, int, int]


@dataclass(slots=True)
class ManifestDirectory:
    """Follows a directory.

    Args:
        publish: called with the changes of every good reading: of the first one whatever it holds, of later ones where there are any.
    """

    path: Path
    publish: Callable[[list[ObjectChange]], Awaitable[None]]
    files: ManifestFiles = field(default_factory=ManifestFiles)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    published: bool = False
    next_scan: float = 0.0
    known_errors: frozenset[str] = frozenset()
    known_ignored: tuple[str, ...] = ()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Reads now and upon every change, until `stopping` is set.

        Raises:
            ConfigError: the directory is not there.
        """
        if not self.path.is_dir():
            raise ConfigError("MANIFESTS_DIR", str(self.path), "an existing directory")
        with _collector_paused():
            await self.refresh()
        watch = watchfiles.awatch(
            self.path,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stopping,
            rust_timeout=RESCAN_MS,
            yield_on_timeout=True,
            recursive=False,
        )
        async for events in watch:
            names = named(self.path, (path for _, path in events))
            if names or (not events and time.monotonic() >= self.next_scan):
                await self.refresh(names)
            elif names is None:
                await self.refresh()

    async def refresh(self, names: frozenset[str] | None = None) -> None:
        """Reads what changed. What is wrong is logged once, and leaves the last good state as it is.

        Args:
            names: of the files that may have changed; None, or none at all: any may have.
        """
        try:
            changed = await asyncio.to_thread(self._look, names)
            if not changed and self.published:
                return
            changes = await asyncio.to_thread(self._read, changed)
        except ConfigErrors as broken:
            self._report(broken.errors)
            return
        except OSError as error:
            self._report((ConfigError(str(self.path), error.strerror, "a readable directory"),))
            return
        self._report(())
        _log.info("manifests_read", files=len(self.files), read=len(changed), changes=len(changes))
        if (ignored := self.files.ignored) != self.known_ignored:
            self.known_ignored = ignored
            _log.info("manifests_ignored", count=len(ignored), objects=ignored[:MAX_LOGGED])
        if changes or not self.published:
            self.published = True
            await self.publish(changes)

    def _look(self, names: frozenset[str] | None) -> frozenset[str]:
        """Returns the files that are other than they were, come or gone; remembers how they are now.

        Raises:
            ConfigErrors: there are too many.
            OSError: the directory cannot be read.
        """
        began = time.monotonic()
        if names:
            stamps = {name: found for name in names if (found := stamp(self.path / name)) is not None}
            known = {name: self.stamps[name] for name in names & self.stamps.keys()}
        else:
            stamps, known = scan(self.path), self.stamps
            self.next_scan = began + (time.monotonic() - began) / RESCAN_SHARE
        if (count := len(self.stamps.keys() | stamps.keys())) > MAX_FILES:
            raise ConfigErrors((ConfigError(str(self.path), count, f"at most {MAX_FILES} files"),))
        changed = frozenset(name for name in stamps.keys() | known.keys() if stamps.get(name) != known.get(name))
        for name in changed:
            self.stamps.pop(name, None)
        self.stamps.update((name, stamps[name]) for name in changed & stamps.keys())
        return changed

    def _read(self, changed: frozenset[str]) -> list[ObjectChange]:
        """Takes in the files that changed, and returns what that changes.

        Raises:
            ConfigErrors: everything that is wrong, in these files or any other.
        """
        for name in sorted(changed):
            reading = read_file(self.path, name) if name in self.stamps else None
            if reading is None:
                self.files.remove(name)
            else:
                self.files.put(name, reading)
        return self.files.take_changes()

    def _report(self, errors: tuple[ConfigError, ...]) -> None:
        for error in errors:
            if str(error) not in self.known_errors:
                _log.error("manifest_invalid", key=error.key, value=error.value, expected=error.expected)
        if self.known_errors and not errors:
            _log.info("manifests_valid_again")
        self.known_errors = frozenset(map(str, errors))


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Spares the first reading the garbage collector's rounds over what only grows: half of its time. What is left then is here to stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


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
