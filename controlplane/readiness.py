"""What is asked over HTTP: GET /healthz/ready, 200 once the source has been read and 503 before; and pages of JSON."""

from collections.abc import Callable, Mapping

from aiohttp import web

from runtime.listening import listen
from runtime.settings import ListenAddress

# Of one answer; a probe that reads slower than that is gone.
_SHUTDOWN_S = 1.0


class ReadinessServer:
    """An HTTP server of a few pages.

    Args:
        unready: says why it is not ready; "": it is.
        pages: what is answered elsewhere, as JSON, by path.
    """

    def __init__(self, unready: Callable[[], str], pages: Mapping[str, Callable[[], object]]) -> None:
        self._unready = unready
        self._pages = pages
        application = web.Application()
        application.router.add_get("/healthz/ready", self._answer)
        for path in pages:
            application.router.add_get(path, self._answer_page)
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
        return web.Response(status=503, text=f"{why}\n") if (why := self._unready()) else web.Response(text="ready\n")

    async def _answer_page(self, request: web.Request) -> web.Response:
        return web.json_response(self._pages[request.path]())
