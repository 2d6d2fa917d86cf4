"""Reads the directory of an authority that others made: all files of one moment."""

import datetime as dt
import errno
from pathlib import Path

from controlplane.authority import Authority
from controlplane.files import read_bounded
from controlplane.given import FILES, check_authority
from mesh.errors import ConfigError

# A Secret holds 1 MiB at most. Source: Kubernetes, "Secrets".
_MAX_LENGTH = 1 << 20
# Kubernetes puts a new directory of files in place by renaming this link: whoever follows it once sees one moment.
_MOMENT = "..data"
# Two replacements within a reading of a millisecond are nobody's work.
_TRIES = 3
# What could not be used may become valid with time alone; the check takes some milliseconds.
_CHECK_AGAIN = dt.timedelta(minutes=1)


class GivenAuthority:
    """Reads the authority, and checks it when a file has changed."""

    def __init__(self, ca_dir: Path, names: tuple[str, str]) -> None:
        self._directory = ca_dir
        self._names = names
        self._files: dict[str, bytes] = {}
        self._found: Authority | ConfigError | None = None
        self._checked = dt.datetime.min.replace(tzinfo=dt.UTC)

    def read(self, _published_lists: bytes, now: dt.datetime) -> Authority:
        """Returns the authority in force.

        Raises:
            ConfigError: what the files hold cannot be used; the error names the file.
            OSError: a file cannot be read.
        """
        files = read_files(self._directory)
        refused = not isinstance(self._found, Authority)
        if files != self._files or (refused and now - self._checked >= _CHECK_AGAIN):
            self._files, self._checked, self._found = files, now, self._check(files, now)
        if not isinstance(self._found, Authority):
            raise self._found or ConfigError(str(self._directory), None, "an authority's files")
        return self._found

    def step(self, published: dt.datetime, now: dt.datetime) -> None:
        """Its rotation is its owner's work."""

    def _check(self, files: dict[str, bytes], now: dt.datetime) -> Authority | ConfigError:
        try:
            return check_authority(files, self._names, now)
        except ConfigError as error:
            return ConfigError(str(self._directory / error.key), error.value, error.expected)


def read_files(directory: Path) -> dict[str, bytes]:
    """Returns the contents of the files that are there. Raises OSError when one is there and cannot be read."""
    for _ in range(_TRIES):
        base = _base(directory)
        contents = _read_all(base)
        # What was replaced meanwhile may have been removed before it was read to its end: a file would seem not to be there.
        if _base(directory) == base:
            return contents
    raise OSError(errno.EAGAIN, "replaced each time that it is read", str(directory))


def _base(directory: Path) -> Path:
    moment = directory / _MOMENT
    return moment.resolve(strict=True) if moment.is_symlink() else directory


def _read_all(base: Path) -> dict[str, bytes]:
    contents = {}
    for name in FILES:
        try:
            contents[name] = read_bounded(base / name, _MAX_LENGTH)
        except FileNotFoundError:
            continue
    return contents
