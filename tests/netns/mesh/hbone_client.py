"""An HBONE client that the mesh did not start: Python's ssl and the h2 library on a blocking socket."""

import socket
import ssl
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.netns.mesh.ground import Place

HBONE_PORT = 15008
_READ_BYTES = 2**16


class HboneClient:
    """One tunnel to a pod.

    Raises:
        OSError: the other side does not want it (ssl.SSLError is one). With TLS 1.3 that may show only at the first answer.
    """

    def __init__(self, client: Place, server: Place, context: ssl.SSLContext, family: socket.AddressFamily) -> None:
        plain = client.connect(server.address(family), HBONE_PORT)
        try:
            self._socket = context.wrap_socket(plain)
        except OSError:
            plain.close()
            raise
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._data: dict[int, bytearray] = {}
        self._status: dict[int, int] = {}
        self._ended: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def connect(self, authority: str) -> tuple[int, int]:
        """Sends a CONNECT; returns the stream, and the status that it was answered with."""
        stream = self._h2.get_next_available_stream_id()
        self._data[stream] = bytearray()
        self._h2.send_headers(stream, [(":method", "CONNECT"), (":authority", authority)])
        while stream not in self._status:
            self._turn()
        return stream, self._status[stream]

    def ask(self, stream: int, question: bytes, count: int) -> bytes:
        """Sends; returns the next `count` bytes of the stream."""
        self._h2.send_data(stream, question)
        while len(self._data[stream]) < count:
            assert stream not in self._ended, f"ended after {bytes(self._data[stream])!r}"
            self._turn()
        answer = bytes(self._data[stream][:count])
        del self._data[stream][:count]
        return answer

    def _turn(self) -> None:
        """Sends what waits, reads what comes."""
        self._socket.sendall(self._h2.data_to_send())
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the tunnel was closed")
        for event in self._h2.receive_data(data):
            if isinstance(event, ResponseReceived):
                self._status[event.stream_id] = int(dict(event.headers)[":status"])
            elif isinstance(event, DataReceived):
                self._data[event.stream_id] += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded | StreamReset):
                self._ended.add(event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                raise ConnectionError(f"GOAWAY {event.error_code}")
