"""The three ports over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from ztunnel.admin.server import AdminServer, Pages
from ztunnel.config import AdminSettings
from ztunnel.telemetry.logs import LogLevel


class Served:
    def __init__(self) -> None:
        self.level = LogLevel("info")
        self.waits_for: tuple[str, ...] = ("the agent has not sent its snapshot yet",)
        self.pages = Pages(lambda: {"pods": []}, lambda: b"up 1\n", lambda: self.waits_for, self.level)
        self.server = AdminServer(AdminSettings(("127.0.0.1", 0), ("::", 0), ("127.0.0.1", 0)), self.pages)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.admin, self.stats, self.readiness = await self.server.start()
        try:
            yield
        finally:
            await self.server.stop()


async def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, f"http://{host}:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_each_port_has_its_pages() -> None:
    served = Served()
    async with served.running():
        assert await ask(served.admin, "/config_dump") == (200, '{\n  "pods": []\n}')
        assert "config_dump" in (await ask(served.admin, "/"))[1]
        assert await ask(served.stats, "/metrics") == (200, "up 1\n")
        assert await ask(served.stats, "/metrics", host="[::1]") == (200, "up 1\n")
        assert (await ask(served.stats, "/config_dump"))[0] == 404, "the configuration is for the loopback alone"


async def test_readiness_says_what_is_missing() -> None:
    served = Served()
    async with served.running():
        assert await ask(served.readiness, "/healthz/ready") == (503, "the agent has not sent its snapshot yet\n")
        served.waits_for = ()
        assert await ask(served.readiness, "/healthz/ready") == (200, "ready\n")


async def test_the_level_is_shown_and_changed() -> None:
    served = Served()
    async with served.running():
        assert await ask(served.admin, "/logging") == (200, "info\n")
        assert await ask(served.admin, "/logging?level=debug", "POST") == (200, "debug\n")
        assert served.level.name == "debug"
        status, text = await ask(served.admin, "/logging?level=loud", "POST")
        assert (status, served.level.name) == (400, "debug")
        assert text == "level: 'loud': expected one of debug, info, warning, error\n"


async def test_errors_say_what_would_have_been_right() -> None:
    served = Served()
    async with served.running():
        assert await ask(served.readiness, "/healthz") == (404, "/healthz: not here; there is /healthz/ready\n")
        status, text = await ask(served.admin, "/config_dump", "POST")
        assert (status, text) == (405, "/config_dump: GET, HEAD only\n")


async def test_a_port_that_cannot_be_had_is_an_error() -> None:
    served = Served()
    async with served.running():
        other = AdminServer(AdminSettings(("127.0.0.1", 0), ("192.0.2.1", 15020), ("127.0.0.1", 0)), served.pages)
        with pytest.raises(OSError, match=r"192\.0\.2\.1|assign"):
            await other.start()
        await other.stop()
