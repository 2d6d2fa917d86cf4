"""The agent's HTTP page: readiness, and the pods that it holds."""

import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web

READY_PATH, PODS_PATH = "/healthz/ready", "/pods"


class AdminPage:
    """Args:
    ready: whether the agent has read its manifests and serves ztunnel.
    pods: what /pods answers.
    """

    def __init__(self, address: tuple[str, int], ready: Callable[[], bool], pods: Callable[[], list[dict[str, Any]]]) -> None:
        self._address = address
        self._ready = ready
        self._pods = pods
        application = web.Application()
        application.add_routes([web.get(READY_PATH, self._readiness), web.get(PODS_PATH, self._list)])
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Raises OSError: the address cannot be listened on."""
        await self._runner.setup()
        await web.SockSite(self._runner, _listen(*self._address)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _readiness(self, _: web.Request) -> web.Response:
        return web.Response(text="ready\n") if self._ready() else web.Response(status=503, text="starting\n")

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(self._pods())


def _listen(host: str, port: int) -> socket.socket:
    """ "::" is every address of both families, where the kernel has both."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
