"""What is asked over HTTP: GET /healthz/ready, 200 once the source has been read and 503 before; GET /policies, the status of each."""

from collections.abc import Callable

from aiohttp import web

from runtime.listening import listen
from runtime.settings import ListenAddress

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
