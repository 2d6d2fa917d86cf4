"""What the agent follows in the file system: the manifests, and the namespaces of the node's pods."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from daemonset.reconcile import NetnsId
from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import Manifests, combine
from runtime.manifests_on_disk import Complaints, Stamp, read_file, scan, watch

_log = structlog.get_logger(scope="source")
# Fewer than the control plane takes: the agent reads all of them anew upon each change.
_MAX_FILES = 20_000


async def rounds(directories: tuple[Path, ...], stopping: asyncio.Event) -> AsyncIterator[None]:
    """Yields at once, upon every change in the directories, and once a second; ends when `stopping` is set."""
    yield
    async for _ in watch(*directories, stopping=stopping):
        yield


@dataclass(slots=True)
class ManifestReader:
    """Reads the directory of manifests when it has changed. What is wrong is logged once; the last good reading stays."""

    directory: Path
    manifests: Manifests | None = None
    _seen: dict[str, Stamp] | None = None
    _complaints: Complaints = field(default_factory=lambda: Complaints(_log))

    def refresh(self) -> Manifests | None:
        """The last good reading; None: there was none yet. Blocks on files."""
        try:
            stamps = scan(self.directory)
            if stamps != self._seen:
                self._seen = stamps
                self.manifests = self._read(stamps)
                self._complaints.report(())
        except ConfigErrors as errors:
            self._complaints.report(errors.errors)
        except OSError as error:
            self._complaints.report((ConfigError(str(self.directory), error.strerror, "a readable directory"),))
        return self.manifests

    def _read(self, names: Collection[str]) -> Manifests:
        """Raises ConfigErrors: everything that is wrong."""
        if len(names) > _MAX_FILES:
            raise ConfigErrors((ConfigError(str(self.directory), len(names), f"at most {_MAX_FILES} files"),))
        readings = (read_file(self.directory, name) for name in sorted(names))
        return combine([reading for reading in readings if reading is not None])


def scan_netns(directory: Path) -> Mapping[str, NetnsId]:
    """The network namespaces in the directory, by file name; what is no namespace (yet), or the node's own, is left out."""
    own = os.stat("/proc/self/ns/net")  # noqa: PTH116 beside the others
    found = {}
    for entry in directory.iterdir():
        try:
            status = entry.stat()
        except OSError:
            continue
        if status.st_dev == own.st_dev and status.st_ino != own.st_ino:
            found[entry.name] = (status.st_dev, status.st_ino)
    return found
