"""Watches the files that say whom this node believes. The last good content stays while what is there cannot be used."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from mesh.errors import CredentialError
from ztunnel.certificates.trust import Trust, read_trust

# A change takes effect within 2 s. The files are read whole each time: 0.1 ms, and no file system's notion of time is relied on.
POLL_S = 1.0
# 10,000 revoked certificates of each of a few authorities have some 2 MiB in PEM.
MAX_LENGTH = 16 << 20

log = structlog.get_logger(scope="trust")


class TrustFiles:
    """Reads the files.

    Args:
        lists: None: there are no revocation lists; a file that is not there means none either.
        changed: called with what is believed from now on, at first and after each change.
    """

    def __init__(self, roots: Path, lists: Path | None, changed: Callable[[Trust], None] = lambda _: None) -> None:
        self._roots = roots
        self._lists = lists
        self._changed = changed
        self._seen: tuple[bytes, bytes] | None = None
        # The last good content; None before there was any.
        self.believed: Trust | None = None
        self._trouble = ""

    async def run(self) -> None:
        """Serves until cancelled."""
        while True:
            try:
                self.read()
            except CredentialError:
                pass  # read() has logged it; there never was anything good, and whoever needs it is told
            await asyncio.sleep(POLL_S)

    def read(self) -> Trust:
        """Returns what is believed now, after a look at the files.

        Raises:
            CredentialError: there has never been a bundle that could be used.
        """
        try:
            self._look()
        except CredentialError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.error("trust not read", reason=self._trouble, kept=self.believed is not None)
        if self.believed is None:
            raise CredentialError(self._trouble)
        return self.believed

    def _look(self) -> None:
        content = (_read(self._roots, None), b"" if self._lists is None else _read(self._lists, b""))
        if content == self._seen and not self._trouble:
            return
        trust = read_trust(*content)
        self._seen, self._trouble = content, ""
        if trust != self.believed:
            self.believed = trust
            log.info("trust read", roots_bytes=len(trust.roots), revoked_bytes=len(trust.revoked))
            self._changed(trust)


def _read(path: Path, absent: bytes | None) -> bytes:
    """Returns a file's content, `absent` where there is none such. Raises CredentialError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LENGTH + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and absent is not None:
            return absent
        raise CredentialError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_LENGTH:
        raise CredentialError(f"{path}: larger than {MAX_LENGTH} bytes")
    return content
