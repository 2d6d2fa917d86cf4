"""A SEQPACKET unix socket under asyncio: packets with file descriptors, none of which is ever lost."""

import array
import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from mesh.errors import RemoteProtocolError
from ztunnel.zds.codec import MAX_PACKET_BYTES

# The protocol sends one at a time. Room for more shows that more came, so that they are closed here and not in the kernel's silence.
MAX_FDS = 8
ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)


class PacketSocket:
    """One connection. Not for two readers, nor two writers, at a time."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected

    async def send(self, packet: bytes) -> None:
        """Raises OSError when the other end is gone."""
        while True:
            try:
                self._socket.send(packet, socket.MSG_NOSIGNAL)
                return
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _ready(self._socket, loop.add_writer, loop.remove_writer)

    async def receive(self) -> tuple[bytes, list[int]]:
        """Returns the next packet and its file descriptors, which the caller owns from here; (b"", []) at the end.

        Raises:
            RemoteProtocolError: a packet, or its descriptors, did not fit; what came has been closed.
            OSError: the connection broke.
        """
        while (received := self._try_receive()) is None:
            loop = asyncio.get_running_loop()
            await _ready(self._socket, loop.add_reader, loop.remove_reader)
        data, fds, flags = received
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(data) > MAX_PACKET_BYTES:
            close_all(fds)
            raise RemoteProtocolError(0, f"a packet of more than {MAX_PACKET_BYTES} bytes or {MAX_FDS} file descriptors")
        return data, fds

    def _try_receive(self) -> tuple[bytes, list[int], int] | None:
        """Returns a packet, its file descriptors and flags; None when there is none yet."""
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(2 * MAX_PACKET_BYTES, ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        return data, _descriptors(ancillary), flags

    def close(self) -> None:
        self._socket.close()


def connect(path: Path) -> PacketSocket:
    """Connects to the agent. Raises OSError; BlockingIOError when its queue is full."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return PacketSocket(connection)


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


async def _ready(
    watched: socket.socket, watch: Callable[[socket.socket, Callable[[], None]], None], unwatch: Callable[[socket.socket], bool]
) -> None:
    """Waits until the loop reports readiness; nothing is left watched, also after cancellation."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch(watched, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        unwatch(watched)
