"""GET /healthz/ready: 200 once the first snapshot is there, 503 before."""

import socket
from collections.abc import Callable

from aiohttp import web

from controlplane.config import ListenAddress

# Of one answer; a probe that reads slower than that is gone.
_SHUTDOWN_S = 1.0


class ReadinessServer:
    """An HTTP server of one page."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        application = web.Application()
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
        return web.Response(text="ready\n") if self._ready() else web.Response(status=503, text="no snapshot yet\n")


def listen(address: ListenAddress) -> socket.socket:
    """Returns a listening socket; "::" takes IPv4 too, and is IPv4 alone where the kernel has no IPv6."""
    if address.host == "::" and not socket.has_dualstack_ipv6():
        return socket.create_server(("0.0.0.0", address.port))
    if ":" not in address.host:
        return socket.create_server((address.host, address.port))
    return socket.create_server((address.host, address.port), family=socket.AF_INET6, dualstack_ipv6=address.host == "::")
