"""A peer with a good certificate and bad manners: GOAWAY with the right code, a notice, and nobody else notices."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from hyperframe.frame import RstStreamFrame

from tests.netns.engine import hbone, tls
from tests.netns.engine.raw_http2 import PREFACE, RawHttp2, connect_headers, decode_status, encode, frame
from tests.netns.engine.shell import to_authority
from tests.netns.engine.world import APP_PORT, CLIENT_ID, HBONE_PORT, INBOUND_REPORT, SERVER_POD, World
from ztunnel.engine.interface import Cause, Decision, Direction, Miss, Refused, Reject

# RFC 9113 section 7.
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0x1, 0x3, 0x5, 0x6
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x9, 0xB
# RFC 9113 section 6.
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8

SERVER = "10.97.0.2:8080"
START = PREFACE + frame(SETTINGS, 0, 0)
CONNECT = connect_headers(SERVER)
OPEN = START + frame(HEADERS, END_HEADERS, 1, CONNECT)

MALFORMED = {
    "not HTTP/2": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", {PROTOCOL_ERROR}),
    "preface without SETTINGS": (PREFACE + frame(PING, 0, 0, bytes(8)), {PROTOCOL_ERROR}),
    "DATA on stream 0": (START + frame(DATA, 0, 0, b"x"), {PROTOCOL_ERROR}),
    "DATA on an idle stream": (START + frame(DATA, 0, 5, b"x"), {PROTOCOL_ERROR}),
    "even stream": (START + frame(HEADERS, END_HEADERS, 2, CONNECT), {PROTOCOL_ERROR}),
    "PUSH_PROMISE of a client": (OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + CONNECT), {PROTOCOL_ERROR}),
    "HPACK garbage": (START + frame(HEADERS, END_HEADERS, 1, b"\xff" * 40), {COMPRESSION_ERROR}),
    "HPACK index that is not there": (START + frame(HEADERS, END_HEADERS, 1, b"\xfe\x00"), {COMPRESSION_ERROR}),
    "frame longer than allowed": (START + frame(DATA, 0, 1, b"", length=0xFFFFFF), {FRAME_SIZE_ERROR}),
    "SETTINGS of a bad length": (PREFACE + frame(SETTINGS, 0, 0, bytes(5)), {FRAME_SIZE_ERROR}),
    "SETTINGS on a stream": (PREFACE + frame(SETTINGS, 0, 1), {PROTOCOL_ERROR}),
    "SETTINGS ACK with a payload": (START + frame(SETTINGS, ACK, 0, bytes(6)), {FRAME_SIZE_ERROR}),
    "SETTINGS with an impossible window": (PREFACE + frame(SETTINGS, 0, 0, b"\0\x04" + b"\xff" * 4), {FLOW_CONTROL_ERROR}),
    "SETTINGS with an impossible frame size": (PREFACE + frame(SETTINGS, 0, 0, b"\0\x05" + bytes(4)), {PROTOCOL_ERROR}),
    "PING of a bad length": (START + frame(PING, 0, 0, bytes(7)), {FRAME_SIZE_ERROR}),
    "PING on a stream": (START + frame(PING, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    "GOAWAY on a stream": (START + frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    "WINDOW_UPDATE of a bad length": (START + frame(WINDOW_UPDATE, 0, 0, bytes(3)), {FRAME_SIZE_ERROR}),
    "WINDOW_UPDATE by nothing": (START + frame(WINDOW_UPDATE, 0, 0, bytes(4)), {PROTOCOL_ERROR}),
    "connection window beyond 2^31-1": (START + frame(WINDOW_UPDATE, 0, 0, b"\x7f" + b"\xff" * 3) * 2, {FLOW_CONTROL_ERROR}),
    "RST_STREAM of an idle stream": (START + frame(RST_STREAM, 0, 7, bytes(4)), {PROTOCOL_ERROR}),
    "RST_STREAM of a bad length": (OPEN + frame(RST_STREAM, 0, 1, bytes(3)), {FRAME_SIZE_ERROR}),
    "CONTINUATION of nothing": (START + frame(CONTINUATION, END_HEADERS, 1, CONNECT), {PROTOCOL_ERROR}),
    "a frame between HEADERS and CONTINUATION": (
        START + frame(HEADERS, 0, 1, CONNECT[:4]) + frame(PING, 0, 0, bytes(8)),
        {PROTOCOL_ERROR},
    ),
    "CONTINUATION of another stream": (START + frame(HEADERS, 0, 1, CONNECT) + frame(CONTINUATION, END_HEADERS, 3), {PROTOCOL_ERROR}),
    "padding longer than the frame": (OPEN + frame(DATA, PADDED, 1, b"\xff" + b"x" * 10), {PROTOCOL_ERROR}),
}


def flood(one: bytes) -> Iterator[bytes]:
    """START, then the same without end; far more than any peer has reason to send."""
    yield START
    for _ in range(200):
        yield one * 500


def opened_and_reset() -> Iterator[bytes]:
    """Streams that are reset as soon as they are asked for (CVE-2023-44487)."""
    yield START
    for number in range(1, 100_001, 2):
        yield frame(HEADERS, END_HEADERS, number, CONNECT) + frame(RST_STREAM, 0, number, (8).to_bytes(4, "big"))


def endless_continuation() -> Iterator[bytes]:
    """A header block that never ends (CVE-2024-27316)."""
    yield START + frame(HEADERS, 0, 1, CONNECT)
    for _ in range(20_000):
        yield frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y" * 100)


EXCESSIVE: dict[str, tuple[Callable[[], Iterator[bytes]], set[int]]] = {
    "PING flood": (lambda: flood(frame(PING, 0, 0, bytes(8))), {ENHANCE_YOUR_CALM}),
    "SETTINGS flood": (lambda: flood(frame(SETTINGS, 0, 0)), {ENHANCE_YOUR_CALM}),
    "WINDOW_UPDATE flood": (lambda: flood(frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big"))), {ENHANCE_YOUR_CALM}),
    "unknown frame flood": (lambda: flood(frame(0x42, 0, 0)), {ENHANCE_YOUR_CALM}),
    "rapid reset": (opened_and_reset, {ENHANCE_YOUR_CALM}),
    "CONTINUATION flood": (endless_continuation, {ENHANCE_YOUR_CALM, COMPRESSION_ERROR, PROTOCOL_ERROR}),
}


async def raw_peer(world: World) -> RawHttp2:
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    return RawHttp2(await tls.open_tls(world.peers, world.ground.outside, world.ground.server.ipv4, HBONE_PORT, context))


async def bystander(world: World) -> hbone.Stream:
    """A stream of another tunnel into the same pod, to which nothing may happen."""
    context = tls.client_context(world.authority.root, world.authority.issue(CLIENT_ID))
    world.peers.listen(world.ground.server, socket.AF_INET, 8081).serve_echo()
    peer = await hbone.open_tunnel(world.peers, world.ground.outside, world.ground.server.ipv4, context)
    stream = peer.connect(f"{world.ground.server.ipv4}:8081")
    assert await stream.ask(b"before") == b"before"
    return stream


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed(world: World, name: str) -> None:
    said, codes = MALFORMED[name]
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    other = await bystander(world)
    peer = await raw_peer(world)
    peer.write(said)
    await peer.read_to_the_end()
    assert [code for code in peer.goaway_codes if code in codes] == peer.goaway_codes != [], peer.frames
    refused = await shell.one(Refused)
    assert (refused.pod, refused.direction, refused.cause) == (SERVER_POD, Direction.INBOUND_HBONE, Cause.H2_FAILURE)
    assert refused.detail
    assert await other.ask(b"after") == b"after"


@pytest.mark.parametrize("name", EXCESSIVE)
async def test_excessive(world: World, name: str) -> None:
    make, codes = EXCESSIVE[name]
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    other = await bystander(world)
    peer = await raw_peer(world)
    pouring = asyncio.ensure_future(pour(peer, make()))
    await peer.read_to_the_end()
    pouring.cancel()
    # A peer that still pours may lose the GOAWAY to the reset of its own making; what it said is in the notice all the same.
    assert set(peer.goaway_codes) <= codes
    refused = (await shell.expect(Refused))[-1]
    assert refused.cause == Cause.H2_FAILURE
    assert await other.ask(b"after") == b"after"
    assert shell.engine.state().connections == 1


async def pour(peer: RawHttp2, pieces: Iterator[bytes]) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            peer.write(piece)
            await peer.drain()


async def test_data_beyond_the_window(world: World) -> None:
    """An application that does not read, and a peer that does not wait for window: that stream is over, or the tunnel is."""
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    listener = world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    other = await bystander(world)
    peer = await raw_peer(world)
    peer.write(OPEN + frame(DATA, 0, 1, bytes(16_384)) * 4000)
    assert await peer.read_until_failed(1) == FLOW_CONTROL_ERROR
    assert await other.ask(b"after") == b"after"


async def test_stream_number_that_goes_back(world: World) -> None:
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT)
    peer = await raw_peer(world)
    peer.write(START + frame(HEADERS, END_HEADERS, 5, CONNECT) + frame(HEADERS, END_HEADERS, 3, CONNECT))
    assert await peer.read_until_failed(3) in {PROTOCOL_ERROR, STREAM_CLOSED}


NOT_A_CONNECT = {
    "GET": [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", SERVER)],
    "extended CONNECT": [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"), (":authority", SERVER)],
    "CONNECT with a path": [(":method", "CONNECT"), (":path", "/"), (":scheme", "https"), (":authority", SERVER)],
    "CONNECT without authority": [(":method", "CONNECT")],
    "two authorities": [(":method", "CONNECT"), (":authority", SERVER), (":authority", SERVER)],
    "pseudo-header after a header": [(":method", "CONNECT"), ("baggage", "x"), (":authority", SERVER)],
    "unknown pseudo-header": [(":method", "CONNECT"), (":authority", SERVER), (":magic", "x")],
    "upper case": [(":method", "CONNECT"), (":authority", SERVER), ("Baggage", "x")],
    "line feed in a value": [(":method", "CONNECT"), (":authority", SERVER), ("baggage", "x\nforwarded: y")],
    "connection-specific header": [(":method", "CONNECT"), (":authority", SERVER), ("transfer-encoding", "chunked")],
}


@pytest.mark.parametrize("name", NOT_A_CONNECT)
async def test_request_that_is_no_connect(world: World, name: str) -> None:
    """That stream is refused, nobody is asked, and the tunnel goes on."""
    shell = world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    peer = await raw_peer(world)
    peer.write(START + frame(HEADERS, END_HEADERS, 1, encode(NOT_A_CONNECT[name])))
    answer = await peer.read_until_answered(1)
    if isinstance(answer, RstStreamFrame):
        assert answer.error_code == PROTOCOL_ERROR
    else:
        assert decode_status(answer) in {400, 405, 501}
    assert not shell.all(Miss)
    peer.write(frame(HEADERS, END_HEADERS, 3, CONNECT))
    assert decode_status(await peer.read_until_answered(3)) == 200


ODD_AUTHORITIES = ["", "nonsense", "10.97.0.2", ":80", "10.97.0.2:0", "10.97.0.2:65536", "a" * 300 + ":80", "user@10.97.0.2:80"]


@pytest.mark.parametrize("asked", ODD_AUTHORITIES)
async def test_odd_authority_reaches_the_decision_as_it_was_sent(world: World, asked: str) -> None:
    """The engine takes no authority apart: who decides does, and may say 400; or the engine refuses what is no host and port."""
    shell = world.server_node(lambda flow: Decision((Reject(400, Cause.BAD_AUTHORITY, report=1),)))
    peer = await raw_peer(world)
    peer.write(START + frame(HEADERS, END_HEADERS, 1, connect_headers(asked)))
    answer = await peer.read_until_answered(1)
    assert isinstance(answer, RstStreamFrame) or decode_status(answer) == 400
    assert {miss.flow.destination for miss in shell.all(Miss)} <= {asked}


async def test_header_block_in_pieces(world: World) -> None:
    """Strange and allowed: a CONNECT in CONTINUATION frames."""
    world.server_node(to_authority(INBOUND_REPORT, keep_source=False))
    world.peers.listen(world.ground.server, socket.AF_INET, APP_PORT).serve_echo()
    peer = await raw_peer(world)
    pieces = [frame(CONTINUATION, 0, 1, CONNECT[at : at + 7]) for at in range(1, len(CONNECT), 7)]
    peer.write(START + frame(HEADERS, 0, 1, CONNECT[:1]) + b"".join(pieces) + frame(CONTINUATION, END_HEADERS, 1))
    assert decode_status(await peer.read_until_answered(1)) == 200
