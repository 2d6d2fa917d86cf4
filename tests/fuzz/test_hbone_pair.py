"""Two connections wired together: whatever their owners do and however the bytes arrive, nothing is lost, reordered or made up."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.hbone import (
    Budget,
    ConnectAnswered,
    Connection,
    ConnectRequested,
    Data,
    Ended,
    Event,
    Limits,
    Pong,
    Reset,
    Role,
    Settled,
    Stream,
    Writable,
    connect_block,
)

BLOCK = connect_block("10.0.0.1:80", ())
# Small, so that a few operations fill them; a peer that has acknowledged our SETTINGS keeps to them.
LIMITS = Limits(stream_window_bytes=300, max_stream_window_bytes=1200, connection_window_bytes=65_535, max_concurrent_streams=4)
BUDGET_BYTES = 2000


@dataclass
class Half:
    """What an owner knows of its side of one stream."""

    stream: Stream
    answered: bool = False
    wanted: bytearray = field(default_factory=bytearray)  # to be sent, not yet sent
    written: int = 0
    closing: bool = False
    blocked: bool = False
    received: bytearray = field(default_factory=bytearray)
    unconsumed: int = 0
    ended: bool = False
    reset: bool = False


def pattern(number: int, start: int, size: int) -> bytes:
    """Bytes from which it shows which stream they are of, and where in it."""
    return bytes((number * 7 + at // 251 + at) % 256 for at in range(start, start + size))


class End:
    """One connection and its owner."""

    def __init__(self, role: Role) -> None:
        self.budget = Budget(BUDGET_BYTES)
        self.connection = Connection(role, LIMITS, self.budget)
        self.connection.start()
        self.wire = bytearray()  # towards the other end
        self.halves: dict[int, Half] = {}
        self.now_s = 0.0

    def flush(self) -> None:
        frames, self.connection.outgoing = self.connection.outgoing, []
        self.wire += b"".join(frames)

    def receive(self, octets: bytes) -> None:
        self.now_s += 0.001
        for event in self.connection.receive(memoryview(octets), self.now_s):
            self.handle(event)

    def handle(self, event: Event) -> None:
        if isinstance(event, Settled | Pong):
            return
        assert isinstance(event, ConnectRequested | ConnectAnswered | Data | Ended | Reset | Writable), event
        if isinstance(event, ConnectRequested):
            self.halves[event.stream.id] = Half(event.stream)
        half = self.halves[event.stream.id]
        if isinstance(event, ConnectAnswered):
            assert not half.answered
            half.answered = True
        elif isinstance(event, Data):
            assert not half.ended
            half.received += event.data
            half.unconsumed += event.flow_bytes
        elif isinstance(event, Ended):
            half.ended = True
        elif isinstance(event, Reset):
            half.reset = True
        elif isinstance(event, Writable):
            assert half.blocked
            half.blocked = False
            self.push(half)

    def open(self) -> None:
        if self.connection.can_open():
            stream = self.connection.open_stream(BLOCK, None)
            self.halves[stream.id] = Half(stream)

    def write(self, half: Half, size: int) -> None:
        may_send = self.connection.role is Role.CLIENT or half.answered
        if may_send and not half.closing:
            half.wanted += pattern(half.stream.id, half.written, size)
            half.written += size
            self.push(half)

    def push(self, half: Half) -> None:
        if half.blocked or half.reset:
            return
        while half.wanted:
            size = min(len(half.wanted), self.connection.sendable(half.stream))
            if not size:
                half.blocked = True
                self.connection.block(half.stream)
                return
            self.connection.send_data(half.stream, bytes(half.wanted[:size]))
            del half.wanted[:size]
        if half.closing:
            self.connection.end_stream(half.stream)

    def close(self, half: Half) -> None:
        if not half.closing and (self.connection.role is Role.CLIENT or half.answered):
            half.closing = True
            self.push(half)

    def answer(self, half: Half) -> None:
        if self.connection.role is Role.SERVER and not half.answered:
            half.answered = True
            self.connection.answer(half.stream, 200)

    def consume(self, half: Half, size: int) -> None:
        size = min(size, half.unconsumed)
        half.unconsumed -= size
        self.connection.consumed(half.stream, size)

    def cancel(self, half: Half) -> None:
        half.reset = True
        self.connection.reset_stream(half.stream, 8)


class Pair:
    def __init__(self) -> None:
        self.client, self.server = End(Role.CLIENT), End(Role.SERVER)
        self.settle()

    def deliver(self, sender: End, size: int) -> None:
        sender.flush()
        octets = bytes(sender.wire[:size])
        del sender.wire[:size]
        (self.server if sender is self.client else self.client).receive(octets)

    def settle(self) -> None:
        """Until neither has anything to say."""
        for _ in range(10_000):
            for end in (self.client, self.server):
                end.flush()
                if end.wire:
                    self.deliver(end, len(end.wire))
            if not (self.client.wire or self.server.wire or self.client.connection.outgoing or self.server.connection.outgoing):
                return
        raise AssertionError("they never stop talking")

    def finish(self) -> None:
        """Lets everything that was begun come to its end."""
        for _ in range(1000):
            self.settle()
            for end in (self.client, self.server):
                for half in end.halves.values():
                    end.answer(half)
                    end.consume(half, half.unconsumed)
            if not any(end.connection.outgoing for end in (self.client, self.server)):
                return
        raise AssertionError("it never ends")


OPERATIONS = st.tuples(
    st.sampled_from(["open", "answer", "write", "write", "consume", "close", "cancel", "deliver", "deliver"]),
    st.booleans(),
    st.integers(0, 10),
    st.integers(0, 700),
)


def perform(pair: Pair, operation: tuple[str, bool, int, int]) -> None:
    what, by_client, number, size = operation
    end = pair.client if by_client else pair.server
    if what == "open":
        pair.client.open()
    elif what == "deliver":
        pair.deliver(end, size)
    elif end.halves:
        half = list(end.halves.values())[number % len(end.halves)]
        if what in {"write", "consume"}:
            getattr(end, what)(half, size)
        else:
            getattr(end, what)(half)


def check(pair: Pair) -> None:
    """What must hold when all is delivered and consumed."""
    client, server = pair.client, pair.server
    assert client.connection.streams.keys() == server.connection.streams.keys()
    for sender, receiver in ((client, server), (server, client)):
        assert sender.connection.send_window == receiver.connection._receive_window
        for number, half in sender.halves.items():
            other = receiver.halves.get(number)
            if half.reset or other is None or other.reset:
                continue
            assert bytes(other.received) == pattern(number, 0, half.written)
            assert other.ended == half.closing
            if number in sender.connection.streams and not half.closing:
                assert half.stream.send_window == other.stream.receive_window
    for end in (client, server):
        promised = sum(half.stream.window - LIMITS.stream_window_bytes for half in end.halves.values())
        assert end.budget.free_bytes == BUDGET_BYTES - promised >= 0


@given(st.lists(OPERATIONS, min_size=20, max_size=150))
def test_two_connections_conserve_bytes_order_and_windows(operations: list[tuple[str, bool, int, int]]) -> None:
    pair = Pair()
    for operation in operations:
        perform(pair, operation)
    pair.finish()
    check(pair)
    for end in (pair.client, pair.server):
        end.connection.receive_eof()
        assert end.budget.free_bytes == BUDGET_BYTES
