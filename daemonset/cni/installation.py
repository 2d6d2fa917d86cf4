"""Keeps the plugin in its place on the node: its program, and its entry in whatever configuration the node's network has."""

import asyncio
import contextlib
import filecmp
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from daemonset.cni.conflist import PLUGIN, NotAConfiguration, choose, with_plugin, without_plugin

_log = structlog.get_logger(scope="cni")
# The network's own plugin may write its configuration whenever it likes; a pod that starts in between goes without the mesh's.
_LOOK_S = 1.0
# Beside our own change the file may be changed by others; whoever does so all the time is waited for until the next look.
_ATTEMPTS = 5
_SUFFIX = ".before-ambient"


class Installation:
    """Args:
    program: of the plugin, in the agent's image.
    bin_dir, conf_dir: of the node, where runtimes look for plugins and configurations.
    entry: the plugin's own fields.
    """

    def __init__(self, program: Path, bin_dir: Path, conf_dir: Path, entry: Mapping[str, Any]) -> None:
        self.trouble = "not installed yet"
        self._program, self._bin_dir, self._conf_dir, self._entry = program, bin_dir, conf_dir, entry

    @property
    def installed(self) -> bool:
        return not self.trouble

    async def keep(self, owns: Callable[[], bool]) -> None:
        """Installs, and repairs what others change, until cancelled.

        Args:
            owns: whether that is for this agent to do.
        """
        while True:
            if owns():
                self._say(await asyncio.to_thread(self._install))
            await asyncio.sleep(_LOOK_S)

    def _install(self) -> str:
        """Returns what is wrong; "" when all is as it should be. Blocks on files."""
        try:
            self._bin_dir.mkdir(parents=True, exist_ok=True)
            target = self._bin_dir / PLUGIN
            if not (target.is_file() and filecmp.cmp(self._program, target, shallow=False)):
                _replace(target, self._program.read_bytes(), 0o755)
                _log.info("plugin_installed", path=str(target))
            return self._configure()
        except OSError as error:
            return f"{error.filename or self._conf_dir}: {error.strerror}"

    def _configure(self) -> str:
        name = choose([path.name for path in self._conf_dir.iterdir()] if self._conf_dir.is_dir() else [])
        if name is None:
            return f"{self._conf_dir} has no network configuration yet"
        path = self._conf_dir / name
        for _ in range(_ATTEMPTS):
            try:
                before = path.read_text()
                after = with_plugin(before, self._entry)
            except (NotAConfiguration, UnicodeDecodeError) as error:
                return f"{path}: {error}"
            if after == before:
                return ""
            # A configuration of one plugin has another ending than a chain; what was there is kept beside it, where no runtime looks.
            target = path.with_suffix(".conflist")
            if path.read_text() != before:
                continue
            # The chain first: a disk that is full, or a crash, must not leave a node without a network.
            _replace(target, after.encode(), 0o600)
            if target != path:
                path.rename(path.with_name(path.name + _SUFFIX))
            _log.info("plugin_configured", path=str(target))
            return ""
        return f"{path}: others change it all the time"

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            _log.error("plugin_not_in_place", error=trouble, consequence="a pod's first packets may leave before it is captured")
        self.trouble = trouble

    def remove(self) -> None:
        """Takes the plugin out of every configuration, then its program away: in that order, so that pods can start at any moment.

        Raises:
            OSError: a file cannot be changed.
        """
        for path in sorted(self._conf_dir.glob("*.conflist")) if self._conf_dir.is_dir() else ():
            try:
                before = path.read_text()
                after = without_plugin(before)
            except (NotAConfiguration, UnicodeDecodeError):
                continue  # whosever it is, it is not ours
            kept = path.with_name(path.with_suffix(".conf").name + _SUFFIX)
            if after != before:
                _replace(path, after.encode(), 0o600)
                _log.info("plugin_taken_out", path=str(path))
            if kept.exists():
                kept.rename(path.with_suffix(".conf"))
                path.unlink()
        (self._bin_dir / PLUGIN).unlink(missing_ok=True)


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Writes a file as a whole: nobody sees half of it, and a full disk leaves the former."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor
            file.write(data)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
