"""Follows the objects of one kind for as long as the process lives: asks what `Following` wants to know, and hands on what changed."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import structlog

from mesh.errors import ApiError, MeshError
from runtime.kubernetes.api import Api
from runtime.kubernetes.following import Batch, Change, Following, Step
from runtime.kubernetes.watch_lines import WatchLines

_log = structlog.get_logger()
# After so long without another word a watch has begun.
AGREED_S = 1.0
# Source: Kubernetes, "API Concepts", receiving resources as metadata.
_JSON = "application/json"
_METADATA = _JSON + ";as={};g=meta.k8s.io;v=v1"


class Reflector:
    """Args:
    take: is called with what each answer changed, and with the end of each list; the next is read when it returns.
    troubled: is called when what is wrong becomes other, or nothing.
    pause: waits for so many seconds.
    """

    def __init__(
        self,
        api: Api,
        following: Following,
        take: Callable[[Batch], Awaitable[None]],
        troubled: Callable[[], None] = lambda: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.following = following
        self._api = api
        self._take = take
        self._troubled = troubled
        self._pause = pause
        self._said = ""

    async def follow(self) -> None:
        """Runs until it is cancelled. Whatever the server answers, it goes on."""
        while True:
            step = self.following.step(random.random())
            await self._pause(step.wait_s)
            try:
                if step.watch:
                    await self._watch(step)
                else:
                    await self._list(step)
            except MeshError as error:
                await self._failed(error)
            else:
                self._say()

    async def _list(self, step: Step) -> None:
        namespace = self.following.selection.namespace
        page = await self._api.request("GET", step.resource.path(namespace), step.query, accept=self._accept("PartialObjectMetadataList"))
        batch = self.following.take_page(page)
        if batch.listed:
            _log.info("kind_listed", resource=step.resource.full_name, objects=len(self.following.known), changes=len(batch.changes))
        await self._take(batch)

    async def _watch(self, step: Step) -> None:
        began, lines = time.monotonic(), WatchLines()
        path = step.resource.path(self.following.selection.namespace)
        async with aclosing(self._api.stream(path, step.query, self._accept("PartialObjectMetadata"))) as chunks:
            await anext(chunks)
            self.following.accepted()
            # A server that has forgotten our version says so after it has agreed.
            well = asyncio.get_running_loop().call_later(AGREED_S, self._say)
            try:
                await self._take_chunks(lines, chunks)
            finally:
                well.cancel()
        lines.end()
        self.following.ended(time.monotonic() - began)

    async def _take_chunks(self, lines: WatchLines, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            changes, broken = self._read(lines, chunk)
            if changes:
                await self._take(Batch(changes))
            if broken is not None:
                raise broken
            self._say()

    def _read(self, lines: WatchLines, chunk: bytes) -> tuple[list[Change], MeshError | None]:
        """Returns what a piece of a watch changes, and what is wrong with it: what came before that counts."""
        changes: list[Change | None] = []
        broken = None
        try:
            changes.extend(map(self.following.take_event, lines.feed(chunk)))
        except MeshError as error:
            broken = error
        return [one for one in changes if one is not None], broken

    async def _failed(self, error: MeshError) -> None:
        settled = self.following.settled
        self.following.failed(error)
        self._say()
        if self.following.settled and not settled:
            await self._take(Batch([], listed=True))

    def _accept(self, kind: str) -> str:
        return _METADATA.format(kind) if self.following.selection.metadata_only else _JSON

    def _say(self) -> None:
        """Logs what is wrong once while it lasts, and that it is over."""
        trouble = self.following.trouble
        # Addresses of a load balancer and counts within a message change from one failure to the next.
        said = "" if trouble is None else f"{type(trouble).__name__} {trouble.status if isinstance(trouble, ApiError) else ''}"
        if said == self._said:
            return
        self._said = said
        if trouble is None:
            _log.info("kind_followed_again", resource=self.following.resource.full_name)
        else:
            _log.warning("kind_not_followed", resource=self.following.resource.full_name, error=str(trouble)[:512])
        self._troubled()
