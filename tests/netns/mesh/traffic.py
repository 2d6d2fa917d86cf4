"""A steady stream of new connections with a request each, from a pod, while something else happens."""

import asyncio
import threading
import time
from typing import Self

from lab.netns import inside
from tests.netns.mesh.ground import PATIENCE_S, Place
from tests.netns.mesh.manifests import APP_PORT

RATE = 200  # new connections a second


class Traffic:
    """Begins as many connections a second as it is told, however long each takes.

    Args:
        patience_s: for one connection with its request; a SYN that was lost comes again after one second.
    """

    def __init__(self, client: Place, address: str, rate: int = RATE, port: int = APP_PORT, patience_s: float = PATIENCE_S) -> None:
        self._client = client
        self._target = address, port
        self._pause_s = 1 / rate
        self._patience_s = patience_s
        self._progress = threading.Condition()
        self._stop = threading.Event()
        self.done = 0
        self.failed: list[str] = []
        self._thread = threading.Thread(target=lambda: inside(client.netns, lambda: asyncio.run(self._run())))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Waits until so many more have been answered."""
        with self._progress:
            goal = self.done + count
            assert self._progress.wait_for(lambda: self.done >= goal, PATIENCE_S), f"{goal - self.done} missing; {self.failed[-5:]}"

    async def _run(self) -> None:
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            number = 0
            while not self._stop.is_set():
                group.create_task(self._request(number, started_s))
                number += 1
                await asyncio.sleep(max(0.0, started_s + number * self._pause_s - time.monotonic()))

    async def _request(self, number: int, started_s: float) -> None:
        began_s = time.monotonic() - started_s
        try:
            async with asyncio.timeout(self._patience_s):
                await self._ask(b"%8d" % number)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, AssertionError) as error:
            with self._progress:
                self.failed.append(f"begun at {began_s:.3f} s, ended at {time.monotonic() - started_s:.3f} s: {error!r}")
            return
        with self._progress:
            self.done += 1
            self._progress.notify_all()

    async def _ask(self, question: bytes) -> None:
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(question)
            _, address = (await reader.readline()).decode().split()
            assert address in self._client.addresses, address
            assert await reader.readexactly(len(question)) == question
        finally:
            writer.close()
