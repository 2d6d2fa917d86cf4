"""Answers the plugin: whether a pod may start."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from daemonset.cni.question import MAX_QUESTION_BYTES, BadQuestion, Question, answer, parse_question
from mesh.errors import MeshError

_log = structlog.get_logger(scope="cni")
# The plugin asks at once after it connected, and gives up after 30 s.
_READ_TIMEOUT_S = 5.0
# A node starts some pods at a time; what comes beyond waits in the listener's queue.
_MAX_AT_ONCE = 64
_CREDENTIALS = struct.Struct("3i")


class CniServer:
    """Args:
    start: captures the pod where it belongs in the mesh; raises MeshError or OSError when that cannot be. It has a time limit.
    """

    def __init__(self, path: Path, start: Callable[[Question], Awaitable[None]]) -> None:
        self._path, self._start = path, start
        self._places = asyncio.Semaphore(_MAX_AT_ONCE)

    async def run(self) -> None:
        """Listens until cancelled. Two agents may take turns at one path: the newer one has it.

        Raises:
            OSError: the path cannot be listened on.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, fresh, limit=MAX_QUESTION_BYTES)
        fresh.chmod(0o600)
        # In one step: at no moment is nobody there.
        fresh.rename(self._path)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._places:
                writer.write(answer(await self._error(reader, writer)))
                await writer.drain()
        except OSError:
            pass  # the plugin has given up
        finally:
            writer.close()

    async def _error(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if _user_of(writer) != 0:
            return "only root may ask"
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                question = parse_question(await reader.readuntil(b"\n"))
        except (BadQuestion, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
            _log.warning("question_refused", error=str(error) or type(error).__name__)
            return str(error) or type(error).__name__
        try:
            await self._start(question)
        except (MeshError, OSError) as error:
            reason = str(error) or type(error).__name__
            _log.warning("pod_held_back", pod=f"{question.namespace}/{question.name}", error=reason)
            return reason
        return ""


def _user_of(writer: asyncio.StreamWriter) -> int:
    """Who is at the other end. Source: unix(7), SO_PEERCRED."""
    connection: socket.socket = writer.get_extra_info("socket")
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user)
