"""An HTTP server that answers as it is told: a transcript of an API server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from runtime.kubernetes import Api, load_access


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said: an object or bytes; `held` keeps the connection open afterwards, `cut` breaks it."""

    body: Any
    status: int = 200
    held: bool = False
    cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Transcript:
    """Requests are answered in turn; what comes when there is no answer left waits."""

    answers: asyncio.Queue[Answer] = field(default_factory=asyncio.Queue)
    asked: asyncio.Queue[Asked] = field(default_factory=asyncio.Queue)

    def say(self, *answers: Answer) -> None:
        for one in answers:
            self.answers.put_nowait(one)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.put_nowait(Asked(request.method, request.raw_path.partition("?")[0], dict(request.query), dict(request.headers), body))
        answer = await self.answers.get()
        if not isinstance(answer.body, bytes):
            return web.json_response(answer.body, status=answer.status, headers=answer.headers)
        response = web.StreamResponse(status=answer.status)
        await response.prepare(request)
        await response.write(answer.body)
        if answer.held:
            await asyncio.Event().wait()
        if answer.cut:
            assert request.transport is not None
            request.transport.abort()
        return response


@asynccontextmanager
async def serving(transcript: Transcript) -> AsyncIterator[int]:
    """Serves on the loopback interface, and gives the port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", transcript.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def write_kubeconfig(path: Path, url: str, **user: str) -> Path:
    """Writes a kubeconfig."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


@asynccontextmanager
async def connected(transcript: Transcript, directory: Path) -> AsyncIterator[Api]:
    """Serves the transcript, and gives a client of it."""
    async with serving(transcript) as port:
        kubeconfig = write_kubeconfig(directory / "kubeconfig", f"http://127.0.0.1:{port}", token="secret")
        async with Api(await load_access(kubeconfig), kubeconfig) as api:
            yield api
