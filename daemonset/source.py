"""What the agent follows in the file system: the manifests, and the namespaces of the node's pods."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import watchfiles

from daemonset.reconcile import NetnsId
from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import SUFFIXES, Manifests, parse_manifests
from mesh.yaml_documents import MAX_FILE_CHARACTERS

_log = structlog.get_logger(scope="source")
# A cluster of our size in one file per object.
_MAX_FILES = 20_000
# Files that are written together are read together; a change still acts within a second.
_STEP_MS, _DEBOUNCE_MS = 20, 100
# Notifications can be lost, and a link's target changes without one: a look at names, times and sizes is cheap.
_RESCAN_MS = 1000

# Tells one reading from the next without opening a file: name, time of change, size, inode.
_Signature = frozenset[tuple[str, int, int, int]]


async def watch(directories: tuple[Path, ...], stopping: asyncio.Event) -> AsyncIterator[None]:
    """Yields at once, upon every change in the directories, and once a second; ends when `stopping` is set."""
    yield
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
    async for _ in changes:
        yield


@dataclass(slots=True)
class ManifestReader:
    """Reads the directory of manifests when it has changed. What is wrong is logged once; the last good reading stays."""

    directory: Path
    manifests: Manifests | None = None
    _seen: _Signature | None = None
    _known_errors: frozenset[str] = frozenset()

    def refresh(self) -> Manifests | None:
        """The last good reading; None: there was none yet. Blocks on files."""
        try:
            signature = _scan(self.directory)
            if signature != self._seen:
                self._seen = signature
                self.manifests = parse_manifests(_read(self.directory, signature))
                self._report(())
        except ConfigErrors as errors:
            self._report(errors.errors)
        except OSError as error:
            self._report((ConfigError(str(self.directory), error.strerror, "a readable directory of readable files"),))
        return self.manifests

    def _report(self, errors: tuple[ConfigError, ...]) -> None:
        for error in errors:
            if str(error) not in self._known_errors:
                _log.error("manifest_invalid", key=error.key, value=error.value, expected=error.expected)
        if self._known_errors and not errors:
            _log.info("manifests_valid_again")
        self._known_errors = frozenset(map(str, errors))


def _scan(directory: Path) -> _Signature:
    """Lists the manifests; hidden files are none, nor is what is no regular file."""
    found = set()
    for path in directory.iterdir():
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.add((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return frozenset(found)


def _read(directory: Path, signature: _Signature) -> dict[str, str]:
    if len(signature) > _MAX_FILES:
        raise ConfigErrors((ConfigError(str(directory), len(signature), f"at most {_MAX_FILES} files"),))
    files: dict[str, str] = {}
    errors: list[ConfigError] = []
    for name, _, size, _ in sorted(signature):
        if size > MAX_FILE_CHARACTERS:
            errors.append(ConfigError(name, size, f"at most {MAX_FILE_CHARACTERS} bytes"))
            continue
        try:
            files[name] = (directory / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as error:
            errors.append(ConfigError(name, f"byte {error.start}", "UTF-8"))
    if errors:
        raise ConfigErrors(tuple(errors))
    return files


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
