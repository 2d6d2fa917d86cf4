"""What is asked over HTTP: GET /healthz/ready, 200 once the source has been read and 503 before; GET /policies, the status of each."""

import socket
from collections.abc import Callable

from aiohttp import web

from controlplane.config import ListenAddress

# Of one answer; a probe that reads slower than that is gone.
_SHUTDOWN_S = 1.0


class ReadinessServer:
    """An HTTP server of two pages.

    Args:
        status: what /policies answers, as JSON.
    """

    def __init__(self, ready: Callable[[], bool], status: Callable[[], object]) -> None:
        self._ready = ready
        self._status = status
        application = web.Application()
        application.router.add_get("/policies", self._answer_policies)
        application.router.add_get("/healthz/ready", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(self, address: ListenAddress) -> int:
        """Listens, and returns the port.

        Raises:
            OSError: the address cannot be had.
        """
        await self._runner.setup()
        listener = listen(address)
        await web.SockSite(self._runner, listener).start()
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if self._ready() else web.Response(status=503, text="the source has not been read yet\n")

    async def _answer_policies(self, _request: web.Request) -> web.Response:
        return web.json_response(self._status())


def listen(address: ListenAddress) -> socket.socket:
    """Returns a listening socket; "::" takes IPv4 too, and is IPv4 alone where the kernel has no IPv6."""
    if address.host == "::" and not socket.has_dualstack_ipv6():
        return socket.create_server(("0.0.0.0", address.port))
    if ":" not in address.host:
        return socket.create_server((address.host, address.port))
    return socket.create_server((address.host, address.port), family=socket.AF_INET6, dualstack_ipv6=address.host == "::")
