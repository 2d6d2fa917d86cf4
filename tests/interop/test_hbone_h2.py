"""Our HTTP/2 and the Python h2 library, on either end of a socket."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import h2.events as h2e
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes

from tests.interop.hbone_endpoint import READ_BYTES, WAIT_S, Endpoint, Half, running
from ztunnel.hbone import ConnectionFailed, ErrorCode, GoAway, Limits, Reset, Role, connect_block, literal_field

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB, many windows of a peer that grants 64 KiB
BLOCK = connect_block("10.0.0.1:80", (("baggage", "k8s.cluster.name=x"),))


class Peer:
    """The h2 end: blocking, and gives windows back as data comes."""

    def __init__(self, sock: socket.socket, client: bool) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        self.events: list[h2e.Event] = []
        self.body: dict[int, bytearray] = {}
        self.sock = sock
        sock.settimeout(WAIT_S)
        self._settled = False
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        if octets := self.h2.data_to_send():
            self.sock.sendall(octets)

    def turn(self) -> list[h2e.Event]:
        """Whatever comes next; nothing at the end of the connection."""
        octets = self.sock.recv(READ_BYTES)
        events = self.h2.receive_data(octets) if octets else []
        for event in events:
            if isinstance(event, h2e.DataReceived):
                self.body.setdefault(event.stream_id, bytearray()).extend(event.data)
                if event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        self.events += events
        assert octets or not self.h2.open_outbound_streams, "closed while streams were open"
        return events

    def until(self, kind: type[h2e.Event], stream_id: int | None = None) -> h2e.Event:
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream_id is None or getattr(event, "stream_id", None) == stream_id):
                    self.events.remove(event)
                    return event
            self.turn()

    def settle(self, values: dict[SettingCodes, int]) -> None:
        """Changes settings, one SETTINGS at a time: h2 takes any acknowledgement for that of all it has sent."""
        if not self._settled:
            self.until(h2e.SettingsAcknowledged)
        self._settled = True
        self.h2.update_settings(values)
        self.flush()
        self.until(h2e.SettingsAcknowledged)

    def connect(self, stream_id: int, authority: str = "10.0.0.1:80", *more: tuple[str, str], end: bool = False) -> None:
        self.h2.send_headers(stream_id, [(":method", "CONNECT"), (":authority", authority), *more], end_stream=end)
        self.flush()

    def send(self, bodies: dict[int, bytes], pad_length: int | None = None) -> None:
        """Sends and ends streams side by side, as their windows allow."""
        left = {stream_id: memoryview(body) for stream_id, body in bodies.items()}
        while left:
            for stream_id, body in list(left.items()):
                extra = 0 if pad_length is None else pad_length + 1
                size = min(len(body), self.h2.local_flow_control_window(stream_id) - extra, self.h2.max_outbound_frame_size - extra)
                if size > 0:
                    self.h2.send_data(stream_id, bytes(body[:size]), pad_length=pad_length)
                    left[stream_id] = body[size:]
                if not left[stream_id]:
                    self.h2.end_stream(stream_id)
                    del left[stream_id]
            self.flush()
            if left and all(self.h2.local_flow_control_window(stream_id) <= 256 for stream_id in left):
                self.turn()


@contextmanager
def both(our_role: Role, limits: Limits | None = None) -> Iterator[tuple[Endpoint, Peer]]:
    ours, theirs = socket.socketpair()
    with theirs, running(Endpoint(our_role, ours, limits)) as endpoint:
        yield endpoint, Peer(theirs, client=our_role is Role.SERVER)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A client of our server."""
    with both(Role.SERVER) as (_, client):
        yield client


def status(event: h2e.Event) -> str:
    assert isinstance(event, h2e.ResponseReceived)
    return dict(event.headers)[":status"]


# Our server


def test_echo_and_half_close(peer: Peer) -> None:
    peer.connect(1)
    assert status(peer.until(h2e.ResponseReceived)) == "200"
    peer.send({1: b"hello"})
    peer.until(h2e.StreamEnded)
    assert peer.body[1] == b"hello"


@pytest.mark.parametrize("pad_length", [None, 200])
def test_streams_side_by_side_under_flow_control_both_ways(peer: Peer, pad_length: int | None) -> None:
    bodies = {stream_id: bytes([stream_id]) + PAYLOAD for stream_id in (1, 3, 5)}
    for stream_id in bodies:
        peer.connect(stream_id)
    peer.send(bodies, pad_length)
    for stream_id, body in bodies.items():
        peer.until(h2e.StreamEnded, stream_id)
        assert peer.body[stream_id] == body


def test_header_compression_of_a_peer_that_uses_its_table() -> None:
    with both(Role.SERVER) as (endpoint, peer):
        for number in range(100):
            stream_id = 2 * number + 1
            peer.connect(stream_id, f"10.0.0.{number % 7}:80", ("baggage", "k8s.cluster.name=x"), ("forwarded", f"for={number}"))
            assert status(peer.until(h2e.ResponseReceived, stream_id)) == "200"
            peer.send({stream_id: b"x"})
            peer.until(h2e.StreamEnded, stream_id)
            half = endpoint.halves[stream_id]
            assert half.authority == f"10.0.0.{number % 7}:80"
            assert half.headers == (("baggage", "k8s.cluster.name=x"), ("forwarded", f"for={number}"))
        assert endpoint.connection.streams == {}


def test_a_refusal_is_complete_and_stops_the_client(peer: Peer) -> None:
    peer.connect(1, "10.0.0.1:503")
    assert status(peer.until(h2e.ResponseReceived)) == "503"
    peer.until(h2e.StreamEnded, 1)
    reset = peer.until(h2e.StreamReset, 1)
    assert isinstance(reset, h2e.StreamReset)
    assert reset.error_code == ErrorCode.NO_ERROR


def test_get_is_answered_405_and_the_connection_goes_on(peer: Peer) -> None:
    peer.h2.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/")], end_stream=True)
    peer.flush()
    assert status(peer.until(h2e.ResponseReceived)) == "405"
    peer.connect(3)
    assert status(peer.until(h2e.ResponseReceived)) == "200"


def test_a_reset_stream_leaves_the_others_alone() -> None:
    with both(Role.SERVER) as (endpoint, peer):
        peer.connect(1)
        peer.connect(3)
        peer.until(h2e.ResponseReceived, 3)
        peer.h2.reset_stream(1, ErrorCode.CANCEL)
        peer.send({3: b"on"})
        peer.until(h2e.StreamEnded, 3)
        assert peer.body[3] == b"on"
        assert [(e.stream.id, e.code) for e in endpoint.events if isinstance(e, Reset)] == [(1, ErrorCode.CANCEL)]


def test_settings_that_change_on_the_way(peer: Peer) -> None:
    peer.connect(1)
    peer.until(h2e.ResponseReceived, 1)
    for values in ({SettingCodes.INITIAL_WINDOW_SIZE: 10}, {SettingCodes.MAX_FRAME_SIZE: 50_000, SettingCodes.HEADER_TABLE_SIZE: 0}):
        peer.settle(values)
    peer.connect(3)
    peer.until(h2e.ResponseReceived, 3)
    peer.send({1: b"a" * 1000, 3: b"b" * 1000})
    peer.until(h2e.StreamEnded, 1)
    peer.until(h2e.StreamEnded, 3)
    assert peer.body == {1: b"a" * 1000, 3: b"b" * 1000}


def test_ping(peer: Peer) -> None:
    peer.h2.ping(b"12345678")
    peer.flush()
    pong = peer.until(h2e.PingAckReceived)
    assert isinstance(pong, h2e.PingAckReceived)
    assert pong.ping_data == b"12345678"


def test_streams_beyond_the_limit_are_refused() -> None:
    with both(Role.SERVER, Limits(max_concurrent_streams=2)) as (_, peer):
        for stream_id in (1, 3, 5):
            peer.connect(stream_id)
        reset = peer.until(h2e.StreamReset)
        assert isinstance(reset, h2e.StreamReset)
        assert (reset.stream_id, reset.error_code) == (5, ErrorCode.REFUSED_STREAM)


def test_a_peer_that_breaks_the_protocol_is_told_why(peer: Peer) -> None:
    peer.connect(1)
    peer.until(h2e.ResponseReceived)
    peer.sock.sendall(b"\0\0\1\0\0\0\0\0\0x")
    event = peer.until(h2e.ConnectionTerminated)
    assert isinstance(event, h2e.ConnectionTerminated)
    assert event.error_code == ErrorCode.PROTOCOL_ERROR
    assert b"DATA on stream 0" in event.additional_data


# Our client


def answer_and_echo(peer: Peer, streams: int) -> None:
    """Serves until so many streams were echoed and ended."""
    waiting: dict[int, bytearray] = {}
    ending: set[int] = set()
    while streams:
        for event in peer.turn():
            if isinstance(event, h2e.RequestReceived):
                peer.h2.send_headers(event.stream_id, [(":status", "200"), ("server", "h2")])
                waiting[event.stream_id] = bytearray()
            elif isinstance(event, h2e.DataReceived):
                waiting[event.stream_id] += event.data
            elif isinstance(event, h2e.StreamEnded):
                ending.add(event.stream_id)
        for stream_id, body in list(waiting.items()):
            while body and (size := min(len(body), peer.h2.local_flow_control_window(stream_id), peer.h2.max_outbound_frame_size)):
                peer.h2.send_data(stream_id, bytes(body[:size]))
                del body[:size]
            if stream_id in ending and not body:
                peer.h2.end_stream(stream_id)
                del waiting[stream_id]
                streams -= 1
        peer.flush()


def finished(half: Half) -> bool:
    return half.ended or half.reset_code is not None


def test_a_client_sends_early_and_gets_its_echo() -> None:
    with both(Role.CLIENT) as (endpoint, peer):
        halves = [endpoint.open(BLOCK + literal_field(b"forwarded", b"for=%d" % n), bytes([n]) + PAYLOAD, end=True) for n in range(3)]
        answer_and_echo(peer, 3)
        for number, half in enumerate(halves):
            endpoint.wait(lambda half=half: finished(half), "the end of the echo")
            assert half.status == 200
            assert half.headers == (("server", "h2"),)
            assert half.received == bytes([number]) + PAYLOAD
        assert endpoint.connection.streams == {}


def test_a_server_with_a_narrow_window() -> None:
    with both(Role.CLIENT) as (endpoint, peer):
        peer.settle({SettingCodes.INITIAL_WINDOW_SIZE: 100, SettingCodes.HEADER_TABLE_SIZE: 0})
        half = endpoint.open(BLOCK, PAYLOAD[:20_000], end=True)
        answer_and_echo(peer, 1)
        endpoint.wait(lambda: finished(half), "the end of the echo")
        assert half.received == PAYLOAD[:20_000]


@pytest.mark.parametrize("trailers", [False, True])
def test_a_refusal_by_the_server(trailers: bool) -> None:
    with both(Role.CLIENT) as (endpoint, peer):
        half = endpoint.open(BLOCK, b"early")
        peer.until(h2e.RequestReceived)
        peer.h2.send_headers(1, [(":status", "503")], end_stream=not trailers)
        if trailers:
            peer.h2.send_headers(1, [("grpc-status", "14")], end_stream=True)
        peer.flush()
        endpoint.wait(lambda: half.ended, "the refusal")
        assert half.status == 503


def test_interim_responses_are_passed_over() -> None:
    with both(Role.CLIENT) as (endpoint, peer):
        half = endpoint.open(BLOCK)
        peer.until(h2e.RequestReceived)
        peer.h2.send_headers(1, [(":status", "103")])
        peer.h2.send_headers(1, [(":status", "200")])
        peer.flush()
        endpoint.wait(lambda: half.status, "the answer")
        assert half.status == 200


def test_a_server_that_goes_away() -> None:
    with both(Role.CLIENT) as (endpoint, peer):
        halves = [endpoint.open(BLOCK), endpoint.open(BLOCK)]
        peer.until(h2e.RequestReceived, 1)
        peer.h2.close_connection(ErrorCode.NO_ERROR, b"bye", last_stream_id=1)
        peer.flush()
        endpoint.wait(lambda: finished(halves[1]), "the reset of what was not looked at")
        assert halves[1].reset_code == ErrorCode.REFUSED_STREAM
        assert halves[0].reset_code is None
        assert GoAway(1, ErrorCode.NO_ERROR, "bye") in endpoint.events
        assert not endpoint.connection.can_open()
        assert not any(isinstance(event, ConnectionFailed) for event in endpoint.events)
