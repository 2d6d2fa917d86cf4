"""Where a control plane lives: what it reads, whom it believes, and where its authority is kept."""

import asyncio
from typing import Protocol

from controlplane.authority import Authority
from controlplane.tokens import Authenticator


class Surroundings(Protocol):
    """A directory of manifests, or a cluster. Used from `enter` to `leave`; `follow` is to run in between."""

    async def enter(self) -> None:
        """Returns when there is an authority to begin with.

        Raises:
            ConfigError, OSError: there never will be, as things are.
        """

    async def follow(self, stopping: asyncio.Event) -> None:
        """Publishes what the source holds, and keeps the authority, until `stopping` is set. Raises ConfigError, OSError: it cannot."""

    async def leave(self) -> None: ...

    @property
    def authority(self) -> Authority:
        """The one in force; to be read anew at each use, from any thread."""

    @property
    def authenticator(self) -> Authenticator: ...

    @property
    def unready(self) -> str:
        """Says what was not read yet."""

    def kinds(self) -> list[dict[str, object]]:
        """Returns what GET /kinds answers."""
