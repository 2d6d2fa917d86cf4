"""A directory of manifests as the surroundings of a control plane: the lab's, and everybody's without Kubernetes."""

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path

from controlplane.authority import Authority
from controlplane.authority_keeper import AuthorityKeeper, source_of
from controlplane.config import AuthoritySettings, DirectorySettings
from controlplane.publisher import Publisher
from controlplane.source import ManifestDirectory
from controlplane.tokens import Authenticator, SignedTokens, load_token_key
from mesh.errors import ConfigError


class Directory:
    """Args:
        names: the trust domain, and the DNS name of the control plane.

    Raises (constructor):
        ConfigError, OSError: the token key or the authority cannot be used.
    """

    def __init__(
        self,
        settings: DirectorySettings,
        authority: AuthoritySettings,
        names: tuple[str, str],
        publisher: Publisher,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self.authenticator: Authenticator = SignedTokens(load_token_key(_read(settings.token_key), "TOKEN_KEY"))
        self._keeper = AuthorityKeeper(source_of(authority, settings.state_dir, names), settings.bundle_dir, clock)
        self._manifests = ManifestDirectory(settings.manifests_dir, publisher.publish)

    async def enter(self) -> None:
        """Everything is there: the constructor has read it."""

    async def follow(self, stopping: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keeper.follow(stopping))
                await self._manifests.follow(stopping)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def leave(self) -> None:
        """Nothing is held."""

    @property
    def authority(self) -> Authority:
        return self._keeper.current

    @property
    def unready(self) -> str:
        return "the manifests have not been read yet"

    def kinds(self) -> list[dict[str, object]]:
        return []


def _read(token_key: Path) -> bytes:
    try:
        return token_key.read_bytes()
    except OSError as error:
        raise ConfigError("TOKEN_KEY", str(token_key), f"a readable file ({error.strerror})") from None
