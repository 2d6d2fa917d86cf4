"""HBONE peers that we did not write: the h2 library over Python's ssl, on either end of a tunnel."""

import asyncio
from collections.abc import Callable, Iterable
from ssl import SSLContext

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from tests.netns.engine import tls
from tests.netns.engine.ground import Pod
from tests.netns.engine.peers import WAIT_S, Connection, Peers

READ_BYTES = 64 * 1024
# Large enough that a stream whose window is not given back does not exhaust the connection's.
CONNECTION_WINDOW_GROWTH = 64 * 1024 * 1024


class Stream:
    """One CONNECT.

    Args:
        hold: do not give the window of received data back.
    """

    def __init__(self, peer: "HbonePeer", number: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._peer = peer
        self.number = number
        self.headers = dict(headers)
        self.data = bytearray()
        self.ended = False
        self.reset_code: int | None = None
        self.hold = False

    async def status(self) -> int:
        """The answer to our CONNECT."""
        await self._peer.until(lambda: ":status" in self.headers or self.reset_code is not None, "an answer")
        assert ":status" in self.headers, f"reset with {self.reset_code} instead of an answer"
        return int(self.headers[":status"])

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Sends within the windows that the other side gives."""
        h2 = self._peer.h2
        while data:
            await self._peer.until(lambda: h2.local_flow_control_window(self.number) > 0, "window")
            size = min(len(data), h2.local_flow_control_window(self.number), h2.max_outbound_frame_size)
            h2.send_data(self.number, data[:size])
            data = data[size:]
            self._peer.flush()
        if end:
            h2.end_stream(self.number)
            self._peer.flush()

    async def receive_exactly(self, count: int) -> bytes:
        await self._peer.until(lambda: len(self.data) >= count or self.over, f"{count} bytes")
        assert len(self.data) >= count, f"only {len(self.data)} bytes, then {self.reset_code}"
        data = bytes(self.data[:count])
        del self.data[:count]
        return data

    async def receive_all(self) -> bytes:
        await self._peer.until(lambda: self.over, "the end of the stream")
        assert self.reset_code is None, f"reset with {self.reset_code}"
        return bytes(self.data)

    async def ask(self, question: bytes) -> bytes:
        await self.send(question)
        return await self.receive_exactly(len(question))

    async def expect_reset(self) -> int:
        """Waits for RST_STREAM and returns its code."""
        await self._peer.until(lambda: self.over, "a reset")
        assert self.reset_code is not None, "ended in order, not with a reset"
        return self.reset_code

    def answer(self, status: int, *, end: bool = False) -> None:
        self._peer.h2.send_headers(self.number, [(":status", str(status))], end_stream=end)
        self._peer.flush()

    def reset(self, code: int) -> None:
        self._peer.h2.reset_stream(self.number, code)
        self._peer.flush()

    @property
    def over(self) -> bool:
        return self.ended or self.reset_code is not None


class HbonePeer:
    """One tunnel, seen from one of its ends."""

    def __init__(self, streams: tls.Streams, *, client_side: bool) -> None:
        self._reader, self._writer = streams
        # Outbound headers are not checked: tests send wrong ones on purpose.
        self.h2 = H2Connection(H2Configuration(client_side=client_side, header_encoding="utf-8", validate_outbound_headers=False))
        self.streams: dict[int, Stream] = {}
        self.goaway_code: int | None = None
        self.closed = False
        self._pings_answered = 0
        self._news = asyncio.Event()
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 10_000})
        self.h2.increment_flow_control_window(CONNECTION_WINDOW_GROWTH)
        self.flush()

    @property
    def certificate_der(self) -> bytes:
        """The other end's certificate."""
        der = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(der, bytes)
        return der

    def connect(self, authority: str, headers: Iterable[tuple[str, str]] = ()) -> Stream:
        """Sends a CONNECT."""
        return self.request([(":method", "CONNECT"), (":authority", authority), *headers])

    def request(self, headers: Iterable[tuple[str, str]], *, end: bool = False) -> Stream:
        """Sends any request."""
        stream = Stream(self, self.h2.get_next_available_stream_id())
        self.streams[stream.number] = stream
        self.h2.send_headers(stream.number, list(headers), end_stream=end)
        self.flush()
        return stream

    async def accept(self, count: int = 1) -> Stream:
        """Waits for the count-th CONNECT of the other side."""
        await self.until(lambda: len(self.streams) >= count, f"CONNECT number {count}")
        return list(self.streams.values())[count - 1]

    def flush(self) -> None:
        self._news.set()
        if not self._writer.is_closing():
            self._writer.write(self.h2.data_to_send())

    def write(self, data: bytes) -> None:
        """Writes bytes that the h2 library knows nothing of."""
        self._writer.write(data)

    async def ping(self) -> None:
        """Waits until the other side has read everything so far."""
        answered = self._pings_answered
        self.h2.ping(b"contract")
        self.flush()
        await self.until(lambda: self._pings_answered > answered, "the answer to a PING")

    def close(self) -> None:
        """Drops the connection."""
        self._writer.transport.abort()

    async def until(self, condition: Callable[[], bool], words: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    assert not self.closed or self.goaway_code is not None or condition(), f"the tunnel closed; {words} did not come"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{words} did not come") from None

    async def until_closed(self) -> None:
        await self.until(lambda: self.closed, "the end of the tunnel")

    async def run(self) -> None:
        """Reads until the tunnel closes."""
        try:
            while data := await self._reader.read(READ_BYTES):
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()
                self._news.set()
        except OSError:
            pass  # reset, or a TLS alert: what came before is what the test looks at
        finally:
            self.closed = True
            self._news.set()

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.streams[event.stream_id] = Stream(self, event.stream_id, _text(event.headers))
        elif isinstance(event, ResponseReceived):
            self.streams[event.stream_id].headers.update(_text(event.headers))
        elif isinstance(event, DataReceived):
            self._take_data(event)
        elif isinstance(event, StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, StreamReset):
            self.streams[event.stream_id].reset_code = int(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            self.goaway_code = int(event.error_code or 0)
        elif isinstance(event, PingAckReceived):
            self._pings_answered += 1

    def _take_data(self, event: DataReceived) -> None:
        stream = self.streams[event.stream_id]
        stream.data += event.data
        if not stream.hold and event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


def _text(headers: Iterable[tuple[str | bytes, str | bytes]]) -> Iterable[tuple[str, str]]:
    """The h2 library decodes them, and its types do not say so."""
    return ((str(name), str(value)) for name, value in headers)


async def open_tunnel(peers: Peers, pod: Pod, address: str, context: SSLContext, port: int = 15008) -> HbonePeer:
    """Connects from a pod; the peer reads from now on."""
    peer = HbonePeer(await tls.open_tls(peers, pod, address, port, context), client_side=True)
    peers.run(peer.run())
    return peer


async def accept_tunnel(peers: Peers, connection: Connection, context: SSLContext) -> HbonePeer:
    """Accepts a tunnel on an accepted connection."""
    peer = HbonePeer(await tls.accept_tls(peers, connection, context), client_side=False)
    peers.run(peer.run())
    return peer
