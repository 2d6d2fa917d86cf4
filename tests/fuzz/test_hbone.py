"""HTTP/2 from a hostile peer: no input makes a connection raise, and how it is cut into portions changes nothing.

The parsers below the connection may raise ConnectionViolation and StreamViolation, nothing else.
"""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ztunnel.hbone.transcript import CONNECT, PREFACE, ack, block, event_line, joined, raw, settings
from ztunnel.hbone import Budget, ConnectAnswered, Connection, ConnectionFailed, ConnectRequested, Data, Event, Limits, Role, connect_block
from ztunnel.hbone.codes import ConnectionViolation, StreamViolation
from ztunnel.hbone.fields import check_trailers, read_request, read_response
from ztunnel.hbone.frames import check_frame, header_fragment, parse_goaway
from ztunnel.hbone.inflate import Inflater
from ztunnel.hbone.settings import parse_settings

LIMITS = Limits(
    stream_window_bytes=2000,
    max_stream_window_bytes=8000,
    connection_window_bytes=65_535,
    max_frame_bytes=16_384,
    max_concurrent_streams=3,
    max_header_list_bytes=400,
    control_burst=40,
    reset_burst=10,
)
BUDGET_BYTES = 10_000

IDS = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7, 9, 2**31 - 1, 2**31 + 1])
FLAGS = st.sampled_from([0, 0, 1, 4, 4, 5, 8, 9, 0x0C, 0x20, 0x24, 0x2D, 0xFF])
BLOCKS = st.sampled_from(
    [
        block(CONNECT),
        block((*CONNECT, ("x", "y"))),
        block(((":method", "GET"), (":scheme", "http"), (":path", "/"))),
        block(((":status", "200"),)),
        block(((":status", "503"),)),
        block(((":status", "100"),)),
        b"\x88",
        b"\x42\x07CONNECT\x41\x03a:1\x40\x01a\x01b",
        b"\xbe\xbf",
        b"\x20",
    ]
)
PAYLOADS = st.one_of(
    BLOCKS,
    st.binary(max_size=40),
    st.integers(0, 2**32 - 1).map(lambda n: n.to_bytes(4, "big")),
    st.integers(0, 900).map(bytes),
    st.tuples(st.integers(0, 8), st.integers(0, 2**32 - 1)).map(lambda s: s[0].to_bytes(2, "big") + s[1].to_bytes(4, "big")),
)
FRAMES = st.one_of(
    st.builds(raw, st.integers(0, 11), FLAGS, IDS, PAYLOADS),
    st.builds(raw, st.just(1), st.sampled_from([4, 4, 5]), IDS, BLOCKS),
    st.builds(raw, st.just(0), st.sampled_from([0, 0, 1, 8]), IDS, st.integers(0, 900).map(bytes)),
)
MESSAGES = st.one_of(st.lists(FRAMES, max_size=25).map(b"".join), st.binary(max_size=300))
MUTATIONS = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4)


def mutated(octets: bytes, mutations: list[tuple[int, int]]) -> bytes:
    changed = bytearray(octets)
    for at, value in mutations:
        if at < len(changed):
            changed[at] = value
    return bytes(changed)


class Owner:
    """Opens streams and watches; or, if it takes part, answers, consumes and sends as well."""

    def __init__(self, role: Role, takes_part: bool) -> None:
        self.takes_part = takes_part
        self.budget = Budget(BUDGET_BYTES)
        self.connection = Connection(role, LIMITS, self.budget)
        self.connection.start()
        if role is Role.CLIENT:
            for _ in range(3):
                self.connection.open_stream(connect_block("a:1", ()), None)
        self.lines: list[str] = []

    def receive(self, octets: bytes) -> None:
        for event in self.connection.receive(memoryview(octets), 1.0):
            self.lines.append(event_line(event))
            if self.takes_part:
                self._react(event)

    def _react(self, event: Event) -> None:
        connection = self.connection
        if isinstance(event, Data):
            connection.consumed(event.stream, event.flow_bytes)
        elif isinstance(event, ConnectRequested):
            connection.answer(event.stream, 503 if event.stream.id % 4 == 3 else 200)
        elif isinstance(event, ConnectAnswered):
            connection.send_data(event.stream, bytes(min(500, connection.sendable(event.stream))))
        elif isinstance(event, ConnectionFailed):
            assert connection.receive(memoryview(b"more"), 1.0) == []

    def finish(self) -> list[str]:
        self.connection.receive_eof()
        assert self.budget.free_bytes == BUDGET_BYTES
        assert len(self.connection._partial) <= 9 + 16_384
        assert len(self.connection._block) <= LIMITS.max_header_list_bytes
        return joined(self.lines)


def talk(role: Role, octets: bytes, portions: list[int], takes_part: bool = False) -> list[str]:
    """What comes of the octets, in these portions (the last again and again)."""
    owner = Owner(role, takes_part)
    head = PREFACE if role is Role.SERVER else b""
    owner.receive(head + settings() + ack())
    at = turn = 0
    while at < len(octets):
        size = portions[min(turn, len(portions) - 1)]
        owner.receive(octets[at : at + size])
        at, turn = at + size, turn + 1
    return owner.finish()


@given(st.sampled_from(Role), MESSAGES, MUTATIONS, st.lists(st.integers(1, 100), min_size=1, max_size=10))
def test_no_input_raises_and_portions_do_not_matter(
    role: Role, octets: bytes, mutations: list[tuple[int, int]], portions: list[int]
) -> None:
    octets = mutated(octets, mutations)
    whole = talk(role, octets, [len(octets) + 1])
    assert talk(role, octets, [1]) == whole
    assert talk(role, octets, portions) == whole


@given(st.sampled_from(Role), MESSAGES, MUTATIONS, st.lists(st.integers(1, 100), min_size=1, max_size=10))
def test_no_input_raises_while_the_owner_takes_part(
    role: Role, octets: bytes, mutations: list[tuple[int, int]], portions: list[int]
) -> None:
    octets = mutated(octets, mutations)
    for cut in ([len(octets) + 1], [1], portions):
        talk(role, octets, cut, takes_part=True)


@given(st.sampled_from(Role), st.binary(max_size=200), st.integers(1, 50))
def test_anything_at_all_from_the_first_byte(role: Role, octets: bytes, portion: int) -> None:
    owner = Owner(role, takes_part=True)
    for at in range(0, len(octets), portion):
        owner.receive(octets[at : at + portion])
    owner.finish()


@given(st.lists(st.one_of(st.binary(max_size=60), BLOCKS), max_size=10))
def test_header_blocks(blocks: list[bytes]) -> None:
    inflater = Inflater(1000)
    with contextlib.suppress(ConnectionViolation):
        for octets in blocks:
            fields = inflater.decode(octets)
            assert sum(32 + len(name) + len(value) for name, value in fields) <= 1000
            for read in (read_request, read_response, check_trailers):
                with contextlib.suppress(StreamViolation):
                    read(fields)


@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from([b":method", b":authority", b":path", b"te"]), st.binary(max_size=8)), st.binary(max_size=8))
    )
)
def test_fields(fields: list[tuple[bytes, bytes]]) -> None:
    for read in (read_request, read_response, check_trailers):
        with contextlib.suppress(StreamViolation):
            read(fields)


@given(st.integers(0, 255), st.integers(0, 2**24 - 1), st.integers(0, 255), st.integers(0, 2**31 - 1))
def test_frame_headers(kind: int, length: int, flags: int, stream_id: int) -> None:
    with contextlib.suppress(ConnectionViolation):
        check_frame(kind, length, flags, stream_id, 2**20)


@given(st.integers(0, 255), st.binary(max_size=60), st.booleans())
def test_payloads(flags: int, payload: bytes, from_server: bool) -> None:
    with contextlib.suppress(ConnectionViolation):
        assert header_fragment(flags, payload) in payload
    with contextlib.suppress(ConnectionViolation):
        parse_settings(payload[: len(payload) // 6 * 6], from_server)
    if len(payload) >= 8:
        _, _, reason = parse_goaway(payload)
        assert reason.isprintable()
