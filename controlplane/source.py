"""The directory of manifests as a source of snapshots: read, re-read on change, the last good state kept."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import watchfiles

from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import Manifests, parse_manifests
from mesh.yaml_documents import MAX_FILE_CHARACTERS

_log = structlog.get_logger()
SUFFIXES = (".yaml", ".yml")
# A cluster of our size in one file per object.
MAX_FILES = 20_000
# One `kubectl apply` writes several files: wait until nothing came for STEP, and DEBOUNCE at most. A label reaches the nodes within 200 ms.
STEP_MS = 20
DEBOUNCE_MS = 100
# Notifications can be lost (a queue that overflows, a file system of another machine); a look at names, times and sizes is cheap.
RESCAN_MS = 1000

# Objects of other kinds that a log line names.
MAX_LOGGED = 20

# What tells one reading from the next without opening a file: name, time of change, size, inode.
Signature = frozenset[tuple[str, int, int, int]]


@dataclass(slots=True)
class ManifestDirectory:
    """Follows a directory.

    Args:
        publish: called with every good reading, first and later ones.
    """

    path: Path
    publish: Callable[[Manifests], None]
    seen: Signature | None = None
    known_errors: frozenset[str] = frozenset()
    known_ignored: tuple[str, ...] = ()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Reads now and upon every change, until `stopping` is set.

        Raises:
            ConfigError: the directory is not there.
        """
        if not self.path.is_dir():
            raise ConfigError("MANIFESTS_DIR", str(self.path), "an existing directory")
        await self.refresh()
        watch = watchfiles.awatch(
            self.path,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stopping,
            rust_timeout=RESCAN_MS,
            yield_on_timeout=True,
        )
        async for _ in watch:
            await self.refresh()

    async def refresh(self) -> None:
        """Reads the directory if anything in it changed. What is wrong is logged once, and leaves the last good state as it is."""
        try:
            signature = await asyncio.to_thread(scan, self.path)
        except OSError as error:
            self._report((ConfigError(str(self.path), error.strerror, "a readable directory"),))
            return
        if signature == self.seen:
            return
        self.seen = signature
        try:
            manifests = await asyncio.to_thread(lambda: parse_manifests(read_files(self.path, signature)))
        except ConfigErrors as broken:
            self._report(broken.errors)
            return
        self._report(())
        _log.info("manifests_read", files=len(signature), pods=len(manifests.pods), services=len(manifests.services))
        if manifests.ignored != self.known_ignored:
            self.known_ignored = manifests.ignored
            _log.info("manifests_ignored", count=len(manifests.ignored), objects=manifests.ignored[:MAX_LOGGED])
        self.publish(manifests)

    def _report(self, errors: tuple[ConfigError, ...]) -> None:
        for error in errors:
            if str(error) not in self.known_errors:
                _log.error("manifest_invalid", key=error.key, value=error.value, expected=error.expected)
        if self.known_errors and not errors:
            _log.info("manifests_valid_again")
        self.known_errors = frozenset(map(str, errors))


def scan(directory: Path) -> Signature:
    """Lists the manifests in a directory; hidden files are not manifests, nor is what is no regular file."""
    found = set()
    for path in directory.iterdir():
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.add((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return frozenset(found)


def read_files(directory: Path, signature: Signature) -> dict[str, str]:
    """Reads what `scan` found, in the order of the names.

    Raises:
        ConfigErrors: files that are too many, too large, not readable or not UTF-8.
    """
    if len(signature) > MAX_FILES:
        raise ConfigErrors((ConfigError(str(directory), len(signature), f"at most {MAX_FILES} files"),))
    files: dict[str, str] = {}
    errors: list[ConfigError] = []
    for name, _, size, _ in sorted(signature):
        try:
            if size > MAX_FILE_CHARACTERS:
                errors.append(ConfigError(name, size, f"at most {MAX_FILE_CHARACTERS} bytes"))
            else:
                files[name] = (directory / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as error:
            errors.append(ConfigError(name, f"byte {error.start}", "UTF-8"))
        except OSError as error:
            errors.append(ConfigError(name, error.strerror, "a readable file"))
    if errors:
        raise ConfigErrors(tuple(errors))
    return files
