"""Keeps a ZDS connection to the agent, and turns its messages into enrolments."""

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from mesh.errors import MeshError, RemoteProtocolError
from runtime.backoff import Backoff
from ztunnel.pods import PodInfo
from ztunnel.zds import codec
from ztunnel.zds.socket import PacketSocket, close_all, connect

# The agent is on this node and restarts in well under a second; a connection attempt on a unix socket costs microseconds.
RECONNECT = Backoff(first_s=0.05, limit_s=1.0)

log = structlog.get_logger(scope="zds")


class Enroller(Protocol):
    """Who serves the pods. No call blocks."""

    def add(self, pod: PodInfo, netns_fd: int) -> None:
        """Serves a pod; owns netns_fd from here on, whatever happens. Raises OSError when it cannot."""

    def keeps(self, uid: str) -> bool:
        """Says whether a pod is served."""

    def delete(self, uid: str) -> None:
        """Ends serving a pod; nothing happens when it was not."""

    def retain(self, uids: frozenset[str]) -> None:
        """Ends serving every other pod."""


class ZdsClient:
    """The agent may come and go: pods stay served while it is away."""

    def __init__(self, path: Path, enroller: Enroller, open_socket: Callable[[Path], PacketSocket] = connect) -> None:
        self._path = path
        self._enroller = enroller
        self._open = open_socket
        self.connected = False
        # Of this process's life: the pods that the agent knew have been named once.
        self.snapshot_received = False

    async def run(self) -> None:
        """Serves until cancelled."""
        failures = 0
        while True:
            try:
                await self._connect()
                failures = 0
            except OSError as error:
                # The agent often starts after ztunnel: the first failure and every tenth are worth a line.
                if failures % 10 == 0:
                    log.warning("agent away", path=str(self._path), error=str(error), failures=failures + 1)
            failures += 1
            await asyncio.sleep(RECONNECT.delay_s(failures, random.random()))

    async def _connect(self) -> None:
        connection = self._open(self._path)
        self.connected = True
        try:
            await self.serve(connection)
            log.warning("agent closed the connection", path=str(self._path))
        finally:
            self.connected = False
            connection.close()

    async def serve(self, connection: PacketSocket) -> None:
        """Speaks the protocol until the agent ends it. Raises OSError when the connection breaks."""
        await connection.send(codec.HELLO)
        log.info("agent connected", path=str(self._path))
        named: set[str] = set()
        while True:
            try:
                packet, fds = await connection.receive()
                if not packet and not fds:
                    return
                self._handle(packet, fds, named)
                error = ""
            except (RemoteProtocolError, OSError) as failure:
                if isinstance(failure, ConnectionError):
                    raise
                error = str(failure)
                log.error("enrolment refused", error=error)
            await connection.send(codec.encode_ack(error))

    def _handle(self, packet: bytes, fds: list[int], named: set[str]) -> None:
        """Does what one packet says.

        Args:
            named: uids that this connection has named; kept up to date.
        """
        try:
            message = codec.decode(packet, len(fds))
        except MeshError:
            close_all(fds)
            raise
        match message:
            case codec.Add(pod):
                named.add(pod.uid)
                self._enroller.add(pod, fds[0])
            case codec.Keep(uid):
                named.add(uid)
                if not self._enroller.keeps(uid):
                    raise RemoteProtocolError(0, f"pod {uid} is not held here: send it with its network namespace")
            case codec.Delete(uid):
                named.discard(uid)
                self._enroller.delete(uid)
            case codec.SnapshotSent():
                self._enroller.retain(frozenset(named))
                self.snapshot_received = True
                log.info("agent sent its snapshot", pods=len(named))


def namespace_id(fd: int) -> tuple[int, int]:
    """Returns what tells one network namespace from another: device and inode of its file."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
