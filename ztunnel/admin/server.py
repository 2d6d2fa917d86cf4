"""The three HTTP ports: admin on the loopback, metrics and readiness for everybody. Thin: pages come from elsewhere."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from runtime.listening import listen
from ztunnel.config import LOG_LEVELS, AdminSettings
from ztunnel.engine.interface import Endpoint
from ztunnel.telemetry.logs import LogLevel
from ztunnel.telemetry.metrics import CONTENT_TYPE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Probes, a scraper and a person at a time.
BACKLOG = 16

_INDEX = """ztunnel

GET  /config_dump         what decisions are made from: workloads, services, pods, certificates, flows
GET  /logging             the log level
POST /logging?level=NAME  change it: {levels}
"""


class Pages:
    """What the handlers show.

    Args:
        dump: the configuration, ready for JSON.
        metrics: the exposition.
        obstacles: what readiness waits for.
    """

    def __init__(
        self, dump: Callable[[], dict[str, Any]], metrics: Callable[[], bytes], obstacles: Callable[[], tuple[str, ...]], level: LogLevel
    ) -> None:
        self._dump = dump
        self._metrics = metrics
        self._obstacles = obstacles
        self._level = level

    async def index(self, request: web.Request) -> web.Response:
        return web.Response(text=_INDEX.format(levels=", ".join(LOG_LEVELS)))

    async def config_dump(self, request: web.Request) -> web.Response:
        return web.json_response(self._dump(), dumps=lambda dump: json.dumps(dump, indent=2))

    async def show_level(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{self._level.name}\n")

    async def set_level(self, request: web.Request) -> web.Response:
        level = request.query.get("level")
        if level not in LOG_LEVELS:
            return web.Response(status=400, text=f"level: {level!r}: expected one of {', '.join(LOG_LEVELS)}\n")
        self._level.set(level)
        return web.Response(text=f"{level}\n")

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def ready(self, request: web.Request) -> web.Response:
        found = self._obstacles()
        return web.Response(status=503 if found else 200, text="\n".join(found or ("ready",)) + "\n")


class AdminServer:
    """Listens from `start` to `stop`."""

    def __init__(self, settings: AdminSettings, pages: Pages) -> None:
        logging = web.get("/logging", pages.show_level), web.post("/logging", pages.set_level)
        self._sites: tuple[tuple[Endpoint, tuple[web.RouteDef, ...]], ...] = (
            (settings.admin, (web.get("/", pages.index), web.get("/config_dump", pages.config_dump), *logging)),
            (settings.stats, (web.get("/metrics", pages.metrics),)),
            (settings.readiness, (web.get("/healthz/ready", pages.ready),)),
        )
        self._runners: list[web.AppRunner] = []

    async def start(self) -> tuple[int, ...]:
        """Returns the ports of admin, metrics and readiness. Raises OSError when one cannot be had; `stop` closes the others."""
        ports = []
        for endpoint, routes in self._sites:
            application = web.Application(middlewares=[_explain])
            application.add_routes(routes)
            runner = web.AppRunner(application, access_log=None)
            self._runners.append(runner)
            await runner.setup()
            # The next ztunnel listens before this one stops.
            listener = listen(endpoint, reuse_port=True)
            ports.append(listener.getsockname()[1])
            await web.SockSite(runner, listener, backlog=BACKLOG).start()
        return tuple(ports)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Says what is there instead of what is not."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, text=f"{request.path}: {', '.join(sorted(error.allowed_methods))} only\n", headers=error.headers)
    except web.HTTPNotFound:
        paths = sorted({route.resource.canonical for route in request.app.router.routes() if route.resource})
        return web.Response(status=404, text=f"{request.path}: not here; there is {', '.join(paths)}\n")
