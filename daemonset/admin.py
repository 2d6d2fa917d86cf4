"""The agent's HTTP page: readiness, and the pods that it holds."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from runtime.listening import listen
from runtime.settings import ListenAddress


class AdminPage:
    """Args:
    ready: whether the agent has read its manifests and serves ztunnel.
    pods: what /pods answers.
    """

    def __init__(self, address: ListenAddress, ready: Callable[[], bool], pods: Callable[[], list[dict[str, Any]]]) -> None:
        self._address = address
        self._ready = ready
        self._pods = pods
        application = web.Application()
        application.add_routes([web.get("/healthz/ready", self._readiness), web.get("/pods", self._list)])
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Raises OSError: the address cannot be listened on."""
        await self._runner.setup()
        await web.SockSite(self._runner, listen(self._address)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _readiness(self, _: web.Request) -> web.Response:
        return web.Response(text="ready\n") if self._ready() else web.Response(status=503, text="starting\n")

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(self._pods())
