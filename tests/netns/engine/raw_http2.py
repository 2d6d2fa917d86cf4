"""An HTTP/2 client that obeys nothing: it writes the bytes that it is given and reads frames, over good TLS."""

import asyncio
import contextlib

from hpack import Decoder, Encoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from tests.netns.engine.peers import WAIT_S
from tests.netns.engine.tls import Streams

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame, by numbers (RFC 9113 section 4.1); `length` may lie."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def encode(headers: list[tuple[str, str]]) -> bytes:
    """A header block; nothing is checked."""
    return bytes(Encoder().encode(headers))


def decode_status(answer: Frame) -> int:
    """The status of the first answer on a connection, or of one that does not lean on HPACK's dynamic table."""
    assert isinstance(answer, HeadersFrame), answer
    return int(dict(Decoder().decode(answer.data, raw=True))[b":status"])


def connect_headers(authority: str) -> bytes:
    """The header block of a CONNECT."""
    return encode([(":method", "CONNECT"), (":authority", authority)])


class RawHttp2:
    """Frames as they come, until the other side closes."""

    def __init__(self, streams: Streams) -> None:
        self._reader, self._writer = streams
        self.frames: list[Frame] = []

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def read_to_the_end(self) -> None:
        """Reads until the connection closes. Raises: TimeoutError: it does not."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    await self._read_frame()

    async def read_until_answered(self, stream: int) -> Frame:
        """The first HEADERS or RST_STREAM of a stream."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self._read_frame()
                if found.stream_id == stream and isinstance(found, HeadersFrame | RstStreamFrame):
                    return found

    async def read_until_failed(self, stream: int) -> int:
        """The code of the first RST_STREAM of a stream, or of the first GOAWAY."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self._read_frame()
                if isinstance(found, GoAwayFrame) or (found.stream_id == stream and isinstance(found, RstStreamFrame)):
                    return int(found.error_code)

    async def _read_frame(self) -> Frame:
        header = memoryview(await self._reader.readexactly(HEADER_BYTES))
        found, length = Frame.parse_frame_header(header)
        found.parse_body(memoryview(await self._reader.readexactly(length)))
        self.frames.append(found)
        return found

    @property
    def goaway_codes(self) -> list[int]:
        return [found.error_code for found in self.frames if isinstance(found, GoAwayFrame)]
