"""HEADERS: requests to a server, responses to a client."""

from mesh.errors import LocalProtocolError
from ztunnel.hbone import frames
from ztunnel.hbone.blocks import status_block
from ztunnel.hbone.codes import ConnectionViolation, ErrorCode, StreamViolation
from ztunnel.hbone.events import ConnectAnswered, ConnectRequested, Rejected
from ztunnel.hbone.fields import Field, check_trailers, read_request, read_response
from ztunnel.hbone.inbound import Inbound
from ztunnel.hbone.inflate import Inflater
from ztunnel.hbone.lifecycle import Role
from ztunnel.hbone.limits import Budget, Limits
from ztunnel.hbone.memory import Gone
from ztunnel.hbone.stream import Stream

# A block within max_header_list_bytes fits into one HEADERS frame of ours, and needs few CONTINUATIONs from a peer that splits
# at 1 KiB (CVE-2024-27316 sends them without end).
_MAX_CONTINUATIONS = 16


class Exchange(Inbound):
    """Requests and their responses; see Connection for the whole."""

    __slots__ = ("_block", "_block_ends", "_block_pieces", "_block_stream", "_inflater")

    def __init__(self, role: Role, limits: Limits, budget: Budget) -> None:
        super().__init__(role, limits, budget)
        self._inflater = Inflater(limits.max_header_list_bytes)
        self._block = bytearray()  # of HEADERS that CONTINUATION is to complete
        self._block_stream = 0  # 0: none
        self._block_ends = False  # END_STREAM follows
        self._block_pieces = 0  # CONTINUATIONs so far

    def answer(self, stream: Stream, status: int) -> None:
        """Answers a CONNECT (server). Any status but 200 is the end of the stream; a client that still sends is asked to stop.

        Raises:
            LocalProtocolError: answered before, or no final status.
        """
        if not self._alive(stream):
            return
        if stream.status or self.role is not Role.SERVER:
            raise LocalProtocolError(f"{stream} has its answer")
        self._send_block(stream.id, status_block(status), end_stream=status != 200)
        stream.status = status
        if status != 200:
            self._stop_sending(stream)
            self._finish(stream)
            # RFC 9113 section 8.1: the response is complete, what is left of the request is not needed.
            self.reset_stream(stream, ErrorCode.NO_ERROR)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._block_ends, self._block_pieces = bool(flags & frames.END_STREAM), 0
        self._collect(flags, stream_id, frames.header_fragment(flags, payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._block_pieces += 1
        if self._block_pieces > _MAX_CONTINUATIONS:
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATIONs")
        self._collect(flags, stream_id, payload)

    def _collect(self, flags: int, stream_id: int, fragment: bytes) -> None:
        """Adds to a header block, and reads it when it is complete, be it of use or not: the tables must keep step."""
        if len(self._block) + len(fragment) > self._limits.max_header_list_bytes:
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if not flags & frames.END_HEADERS:
            self._block += fragment
            self._block_stream = stream_id
            return
        block = bytes(self._block) + fragment if self._block else fragment
        self._block_stream, self._block = 0, bytearray()
        fields = self._inflater.decode(block)
        if self.role is Role.SERVER:
            self._on_request(stream_id, fields)
        else:
            self._on_response(stream_id, fields)

    def _on_request(self, stream_id: int, fields: list[Field]) -> None:
        if stream_id % 2 == 0:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"a client opened stream {stream_id}")
        if stream_id <= self._last_id:
            self._on_second_headers(stream_id)
            return
        self._last_id = stream_id
        if self._promised_id is not None:  # our GOAWAY said that it would not be looked at
            self._charge(1)
            self._gone.add(stream_id, Gone.RESET_BY_US)
        elif len(self.streams) >= self._limits.max_concurrent_streams:
            self._reject(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        else:
            self._accept(stream_id, fields)

    def _accept(self, stream_id: int, fields: list[Field]) -> None:
        try:
            request = read_request(fields)
        except StreamViolation as violation:
            self._reject(stream_id, violation.status, violation.reason)
            return
        stream = Stream(stream_id, None, self._first_window, self._limits.stream_window_bytes, self._now_s)
        stream.receive_window = stream.window
        stream.receiving = not self._block_ends or request.method == b"CONNECT"
        self.streams[stream_id] = stream
        if request.method != b"CONNECT":
            self._charge_reset()
            self.answer(stream, 405)
            self._events.append(Rejected(stream_id, f"method {request.method.decode('ascii')[:32]}"))
            return
        self._events.append(ConnectRequested(stream, request.authority, request.headers))
        if self._block_ends:
            self._peer_ended(stream)

    def _on_second_headers(self, stream_id: int) -> None:
        """A CONNECT has no trailers, and ids grow. Source: RFC 9113 sections 8.5, 5.1.1."""
        if stream_id not in self.streams and self._gone.how(stream_id) is None:
            raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} opened after {self._last_id}")
        stream = self._find(stream_id)
        if stream is not None:
            code = ErrorCode.PROTOCOL_ERROR if stream.receiving else ErrorCode.STREAM_CLOSED
            raise StreamViolation(code, "HEADERS on a stream that has them")
        self._charge(1)

    def _on_response(self, stream_id: int, fields: list[Field]) -> None:
        stream = self._find(stream_id)
        if stream is None:
            self._charge(1)
        elif not stream.receiving:
            raise StreamViolation(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        elif stream.status:
            self._on_trailers(stream, fields)
        else:
            self._on_answer(stream, fields)

    def _on_answer(self, stream: Stream, fields: list[Field]) -> None:
        response = read_response(fields)
        if response.status < 200:
            if self._block_ends:
                raise StreamViolation(ErrorCode.PROTOCOL_ERROR, "END_STREAM on an interim response")
            self._charge(1)
            return
        stream.status = response.status
        stream.receive_window = stream.window
        self._events.append(ConnectAnswered(stream, response.status, response.headers))
        if self._block_ends:
            self._peer_ended(stream)

    def _on_trailers(self, stream: Stream, fields: list[Field]) -> None:
        """They end a refusal (section 8.1); a connected stream has none (section 8.5)."""
        if stream.connected or not self._block_ends:
            raise StreamViolation(ErrorCode.PROTOCOL_ERROR, "HEADERS after the response")
        check_trailers(fields)
        self._peer_ended(stream)
