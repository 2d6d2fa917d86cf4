"""Keeps the authority in force: reads it anew, publishes what the nodes are to trust, and says what went wrong."""

import asyncio
import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from controlplane.authority import Authority
from controlplane.config import AuthoritySettings
from controlplane.files import PUBLIC_MODE, sweep, write_over
from controlplane.given_store import GivenAuthority
from controlplane.rotation import Pace
from controlplane.self_made import SelfMadeAuthority
from mesh.errors import ConfigError

BUNDLE_FILE = "root-cert.pem"
LISTS_FILE = "ca-crl.pem"
_OURS = re.compile("|".join(map(re.escape, (BUNDLE_FILE, LISTS_FILE))))
# A revocation or a new root is urgent, and a handful of small files costs 0.2 ms; the nodes look as often.
POLL_S = 1.0
# Whoever made the issuer has a day to see each of these.
ENDS_SOON = dt.timedelta(days=30)
REMIND_EVERY = dt.timedelta(days=1)
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)

_log = structlog.get_logger()


class Source(Protocol):
    """Where an authority comes from."""

    def read(self, published_lists: bytes, now: dt.datetime) -> Authority: ...

    def step(self, published: dt.datetime, now: dt.datetime) -> None: ...


def source_of(settings: AuthoritySettings, state_dir: Path, names: tuple[str, str]) -> Source:
    """Chooses the source.

    Args:
        state_dir: of an authority that the control plane makes itself.
        names: the trust domain, and the DNS name of the control plane.
    """
    if settings.ca_dir is not None:
        return GivenAuthority(settings.ca_dir, names)
    return SelfMadeAuthority(state_dir, Pace(settings.spread, settings.max_lifetime))


class AuthorityKeeper:
    """Holds `current` from the moment that it is made; to be read anew at each use, from any thread.

    Raises (constructor):
        ConfigError, OSError: there is no authority that can be used, or the bundle cannot be written.
    """

    def __init__(self, source: Source, bundle_dir: Path, clock: Callable[[], dt.datetime]) -> None:
        self._source = source
        self._bundle_dir = bundle_dir
        self._clock = clock
        self._trouble = ""
        self._reminded = self._published_at = _LONG_AGO
        bundle_dir.mkdir(parents=True, exist_ok=True)
        sweep(bundle_dir, _OURS)
        self.current = self._take()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Keeps it until `stopping` is set."""
        while not stopping.is_set():
            self.refresh()
            try:
                async with asyncio.timeout(POLL_S):
                    await stopping.wait()
            except TimeoutError:
                pass

    def refresh(self) -> None:
        """Takes over what has changed. What cannot be used is logged once, and what was there before stays in force."""
        try:
            # A rotation counts on the bundle being where the nodes find it.
            if not self._trouble:
                self._source.step(self._published_at, self._clock())
            self.current = self._take()
        except (ConfigError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("authority_not_read", error=self._trouble, in_force=describe(self.current))
        else:
            self._trouble = ""
        self._remind()

    def _take(self) -> Authority:
        """Reads the authority and publishes its bundle before anything is signed under it."""
        read = self._source.read(self._published(LISTS_FILE), self._clock())
        for name, content in ((BUNDLE_FILE, read.bundle), (LISTS_FILE, read.revocations)):
            if self._published(name) != content or not (self._bundle_dir / name).exists():
                write_over(self._bundle_dir / name, content, PUBLIC_MODE)
                if name == BUNDLE_FILE:
                    self._published_at = self._clock()
                _log.info("bundle_written", file=str(self._bundle_dir / name), bytes=len(content), authority=describe(read))
        return read

    def _published(self, name: str) -> bytes:
        try:
            return (self._bundle_dir / name).read_bytes()
        except FileNotFoundError:
            return b""

    def _remind(self) -> None:
        now, ends = self._clock(), self.current.issuer.ends
        if ends - now < ENDS_SOON and now - self._reminded >= REMIND_EVERY:
            self._reminded = now
            _log.warning("authority_ends_soon", ends=ends.isoformat(), authority=describe(self.current))


def describe(authority: Authority) -> str:
    certificate = authority.issuer.certificate
    return f"{certificate.subject.rfc4514_string()[:256]} serial {certificate.serial_number:x}"
