"""The directory of manifests as a source of changes: read, re-read where it changed, the last good state kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from controlplane.collector import collector_paused
from controlplane.manifest_files import ManifestFiles
from mesh.catalogue.changes import ObjectChange
from mesh.errors import ConfigError, ConfigErrors
from runtime.manifests_on_disk import Complaints, Stamp, named, read_file, scan, stamp, watch

_log = structlog.get_logger()
# A cluster of 100,000 workloads in one file per object, and as many other objects.
MAX_FILES = 250_000
# A look at names, times and sizes is cheap; in a directory of many files it takes this share of the time at most.
RESCAN_SHARE = 0.02
# Objects of other kinds that a log line names.
MAX_LOGGED = 20


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
    complaints: Complaints = field(default_factory=lambda: Complaints(_log))
    known_ignored: tuple[str, ...] = ()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Reads now and upon every change, until `stopping` is set.

        Raises:
            ConfigError: the directory is not there.
        """
        if not self.path.is_dir():
            raise ConfigError("MANIFESTS_DIR", str(self.path), "an existing directory")
        with collector_paused():
            await self.refresh()
        async for paths in watch(self.path, stopping=stopping):
            names = named(self.path, paths)
            if names or (not paths and time.monotonic() >= self.next_scan):
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
            self.complaints.report(broken.errors)
            return
        except OSError as error:
            self.complaints.report((ConfigError(str(self.path), error.strerror, "a readable directory"),))
            return
        self.complaints.report(())
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
