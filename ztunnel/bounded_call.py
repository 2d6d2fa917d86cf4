"""A gRPC call with bounded answers, whose peer may break any rule: grpclib's own takes 4 GiB, and trips over its assertions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from grpclib.client import Stream
from grpclib.exceptions import ProtocolError
from h2.exceptions import H2Error

S = TypeVar("S")
R = TypeVar("R")

# Ours sends 3 MiB at a time; others send everything at once, and 100,000 workloads have some 40 MiB.
MAX_MESSAGE_LENGTH = 64 * 2**20
# Source: gRPC over HTTP/2, "Length-Prefixed-Message": a flag for compression, which nobody was offered, and the length.
_PREFIX_LENGTH = 5
# What grpclib lets through when the peer ends in the middle of a message, or sends headers that cannot be read.
_TRIPS = (AssertionError, KeyError, ValueError, H2Error)


class BoundedCall(Stream[S, R]):
    """Every coroutine raises ProtocolError, besides what grpclib documents, for whatever the peer does wrong."""

    async def recv_initial_metadata(self) -> None:
        with _trips():
            await super().recv_initial_metadata()

    async def recv_message(self) -> R | None:
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with _trips(), self._wrapper:
            return await self._read()

    async def recv_trailing_metadata(self) -> None:
        with _trips():
            await super().recv_trailing_metadata()

    async def _read(self) -> R | None:
        prefix = await self._stream.recv_data(_PREFIX_LENGTH)
        if not prefix:
            return None
        if prefix[0]:
            raise ProtocolError("a compressed message")
        length = int.from_bytes(prefix[1:])
        if length > MAX_MESSAGE_LENGTH:
            raise ProtocolError(f"a message of {length} bytes, longer than {MAX_MESSAGE_LENGTH}")
        body = await self._stream.recv_data(length)
        if len(body) != length:
            raise ProtocolError("the peer ended in the middle of a message")
        message: R = self._codec.decode(body, self._recv_type)
        return message


@contextmanager
def _trips() -> Iterator[None]:
    try:
        yield
    except _TRIPS as error:
        raise ProtocolError(f"the peer broke the protocol: {type(error).__name__}: {error}"[:256]) from None
