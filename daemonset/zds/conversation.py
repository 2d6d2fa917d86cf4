"""One connected ztunnel: sends what its Session says, waits for each acknowledgement, and notices when it goes."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from daemonset.zds import codec
from daemonset.zds.session import AddRequest, DeleteRequest, Enrolled, Request, Session
from mesh.errors import RemoteProtocolError

_log = structlog.get_logger(scope="zds")
# A ztunnel opens three listeners before it answers. One that takes longer hangs; its connection is closed, and it comes again.
ACK_TIMEOUT_S = 10.0
# Who connects speaks first, at once.
HELLO_TIMEOUT_S = 5.0


class Conversation:
    """Speaks with one ztunnel.

    Args:
        connection: non-blocking SEQPACKET socket; belongs to the caller.
        pods: what to tell; the server's own, read whenever something is to be said.
        progressed: awaited after each acknowledgement.
    """

    def __init__(
        self, connection: socket.socket, pods: Mapping[str, Enrolled], progressed: Callable[[Request, str], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._pods = pods
        self._progressed = progressed
        self._wake = asyncio.Event()
        # One: a second packet waits in the socket, and is found to be one too many.
        self._answers: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._closed = False
        self.session = Session()

    def wake(self) -> None:
        """Tells that the pods have changed."""
        self._wake.set()

    async def greet(self) -> None:
        """Waits for the hello.

        Raises:
            RemoteProtocolError: it is none. TimeoutError: none came. OSError: the connection broke.
        """
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            codec.check_hello(await self._receive())

    async def run(self) -> None:
        """Speaks until the ztunnel goes.

        Raises:
            RemoteProtocolError: it broke the protocol. TimeoutError: it does not answer. OSError: the connection broke.
        """
        listening = asyncio.create_task(self._listen())
        try:
            while not self._closed:
                await self._say_next()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _say_next(self) -> None:
        self._wake.clear()
        if not self._answers.empty():
            raise RemoteProtocolError(0, "an answer to nothing")
        self.session.forget(self._pods)
        request = self.session.next_request(self._pods, time.monotonic())
        if request is None:
            await self._rest()
            return
        self._send(request)
        error = await self._await_answer()
        self.session.acknowledge(request, error, time.monotonic())
        await self._progressed(request, error)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self.session.next_retry_s(time.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return

    def _send(self, request: Request) -> None:
        """One request at a time is far less than a socket's buffer: one that does not fit is as broken as the connection."""
        match request:
            case AddRequest(pod):
                socket.send_fds(self._connection, [codec.encode_add(pod.info)], [pod.netns], socket.MSG_NOSIGNAL)
            case DeleteRequest(uid):
                self._connection.send(codec.encode_delete(uid), socket.MSG_NOSIGNAL)
            case _:
                self._connection.send(codec.encode_snapshot_sent(), socket.MSG_NOSIGNAL)

    async def _await_answer(self) -> str:
        async with asyncio.timeout(ACK_TIMEOUT_S):
            while self._answers.empty():
                if self._closed:
                    raise ConnectionResetError("it closed the connection without an answer")
                self._wake.clear()
                await self._wake.wait()
        return codec.decode_ack(self._answers.get_nowait())

    async def _listen(self) -> None:
        """Takes packets until the end, in whatever way it comes."""
        try:
            while packet := await self._receive():
                await self._answers.put(packet)
                self._wake.set()
        except (OSError, RemoteProtocolError) as error:
            _log.info("ztunnel_unreadable", error=str(error))
        finally:
            self._closed = True
            self._wake.set()

    async def _receive(self) -> bytes:
        packet = await asyncio.get_running_loop().sock_recv(self._connection, codec.MAX_PACKET_BYTES + 1)
        if len(packet) > codec.MAX_PACKET_BYTES:
            raise RemoteProtocolError(0, f"a packet of more than {codec.MAX_PACKET_BYTES} bytes")
        return packet
