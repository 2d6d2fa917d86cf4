"""Windows in both directions: never overrun, given back, grown within the budget, and shared fairly."""

import pytest

from mesh.errors import LocalProtocolError
from tests.unit.ztunnel.hbone.transcript import Talk, connect, data, headers, padded, raw, settings, window
from ztunnel.hbone import Budget, ConnectRequested, Limits, Role, Stream, Writable, connect_block

BLOCK = connect_block("10.0.0.1:80", ())
KIB, MIB = 1024, 1024 * 1024


def accepted(talk: Talk, stream_id: int = 1) -> Stream:
    talk.send(connect(stream_id))
    stream = next(e.stream for e in talk.events if isinstance(e, ConnectRequested) and e.stream.id == stream_id)
    talk.connection.answer(stream, 200)
    talk.written()
    return stream


def client(*, streams: int = 1, **peer: int) -> tuple[Talk, list[Stream]]:
    talk = Talk(Role.CLIENT).begin(**peer)
    opened = [talk.connection.open_stream(BLOCK, None) for _ in range(streams)]
    talk.written()
    return talk, opened


# What we send


def test_sendable_is_the_smaller_window() -> None:
    talk, [stream] = client(initial_window_size=100)
    assert talk.connection.sendable(stream) == stream.send_window == 100
    talk.send(window(1, 1 * MIB))
    assert talk.connection.sendable(stream) == 65535
    talk.connection.send_data(stream, bytes(65535))
    assert talk.connection.sendable(stream) == 0


def test_more_than_sendable_is_our_own_fault() -> None:
    talk, [stream] = client(initial_window_size=100)
    for send in (talk.connection.send_data, lambda stream, octets: talk.connection.data_header(stream, len(octets))):
        with pytest.raises(LocalProtocolError):
            send(stream, bytes(101))
    assert stream.send_window == 100
    assert talk.written() == []


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 16384, 16385, 50_000])
def test_data_is_split_as_the_peer_wants(size: int) -> None:
    talk, [stream] = client()
    payload = bytes(i % 251 for i in range(size))
    talk.connection.send_data(stream, payload)
    octets, body, lengths = b"".join(talk.connection.outgoing), b"", []
    while octets:
        length = int.from_bytes(octets[:3], "big")
        assert octets[3:9] == b"\0\0\0\0\0\1"
        lengths.append(length)
        body, octets = body + octets[9 : 9 + length], octets[9 + length :]
    assert body == payload
    assert lengths == [16384] * (size // 16384) + ([size % 16384] if size % 16384 else [])
    assert stream.send_window == talk.connection.send_window == 65535 - size


def test_a_large_payload_is_not_copied() -> None:
    talk, [stream] = client(max_frame_size=1 * MIB)
    payload = bytes(50_000)
    talk.connection.send_data(stream, payload)
    assert talk.connection.outgoing[1] is payload


def test_data_header_accounts_for_what_the_caller_writes() -> None:
    talk, [stream] = client()
    assert talk.connection.data_header(stream, 16385) is None
    assert stream.send_window == 65535
    assert talk.connection.data_header(stream, 16384) == raw(0, 0, 1, bytes(16384))[:9]
    assert stream.send_window == talk.connection.send_window == 65535 - 16384
    assert talk.connection.outgoing == []


def test_a_smaller_initial_window_may_leave_less_than_nothing() -> None:
    talk, [stream] = client(initial_window_size=1000)
    talk.connection.send_data(stream, bytes(900))
    talk.send(settings(initial_window_size=500))
    assert stream.send_window == -400
    assert talk.connection.sendable(stream) == 0
    talk.connection.block(stream)
    assert talk.send(window(1, 400)) == []
    assert talk.send(settings(initial_window_size=501)) == ["Writable 1"]


def test_blocked_streams_wait_for_both_windows() -> None:
    talk, [first, second] = client(streams=2)
    talk.connection.send_data(first, bytes(65535))
    talk.connection.block(first)
    talk.connection.block(second)
    assert talk.send(window(1, 10)) == []
    assert talk.send(window(0, 10)) == ["Writable 1", "Writable 3"]
    assert talk.send(window(0, 10)) == []


def test_a_stream_that_may_send_is_not_blocked() -> None:
    talk, [stream] = client()
    with pytest.raises(LocalProtocolError):
        talk.connection.block(stream)


def test_a_reset_stream_is_not_woken() -> None:
    talk, [first, second] = client(streams=2)
    talk.connection.send_data(first, bytes(65535))
    talk.connection.block(first)
    talk.connection.block(second)
    talk.connection.reset_stream(first, 8)
    assert first not in talk.connection._blocked
    assert talk.send(window(0, 10)) == ["Writable 3"]


@pytest.mark.parametrize("grant", [window(1, 1000), settings(initial_window_size=100_000)])
def test_what_is_granted_after_the_end_cannot_be_used(grant: bytes) -> None:
    talk, [stream] = client()
    talk.connection.end_stream(stream)
    assert talk.send(grant) == []
    assert talk.connection.sendable(stream) == stream.send_window == 0


def test_of_a_setting_that_is_there_twice_the_last_counts() -> None:
    talk, [stream] = client()
    talk.send(raw(4, 0, 0, b"\0\4\0\0\0\1" + b"\0\4\0\0\0\2"))
    assert stream.send_window == 2


def test_the_connection_window_goes_round() -> None:
    """Streams that always have more take turns, though each takes all that there is."""
    talk, streams = client(streams=5, initial_window_size=10 * MIB)
    talk.connection.send_data(streams[0], bytes(65535))
    sent = dict.fromkeys(streams, 0)
    for stream in streams:
        talk.connection.block(stream)
    for _ in range(100):
        talk.events.clear()
        talk.send(window(0, 1000))
        for event in talk.events:
            assert isinstance(event, Writable)
            if size := talk.connection.sendable(event.stream):
                talk.connection.send_data(event.stream, bytes(size))
                sent[event.stream] += size
            talk.connection.block(event.stream)
    assert set(sent.values()) == {20_000}


# What we receive


def test_the_connection_window_comes_back_on_receipt() -> None:
    limits = Limits(connection_window_bytes=128 * KIB, stream_window_bytes=1 * MIB)
    talk = Talk(Role.SERVER, limits).begin()
    accepted(talk)
    talk.send(data(1, bytes(60 * KIB)))
    assert talk.written() == []
    talk.send(data(1, bytes(60 * KIB)))
    assert talk.written() == [f"WindowUpdate 0 {120 * KIB}"]


@pytest.mark.parametrize("portion", [None, 1000])
def test_data_beyond_the_connection_window_fails_the_connection(portion: int | None) -> None:
    limits = Limits(connection_window_bytes=64 * KIB, stream_window_bytes=1 * MIB)
    talk = Talk(Role.SERVER, limits).begin()
    accepted(talk)
    events = talk.send(raw(0, 0, 1, bytes(64 * KIB + 1)), portion=portion)
    assert events[-1] == "ConnectionFailed FLOW_CONTROL_ERROR"
    assert len(events) == 1


@pytest.mark.parametrize("portion", [None, 1, 1000])
def test_data_beyond_the_window_of_a_stream_resets_it(portion: int | None) -> None:
    talk = Talk(Role.SERVER, Limits(stream_window_bytes=1000)).begin()
    accepted(talk)
    accepted(talk, 3)
    talk.events.clear()
    events = talk.send(data(1, b"a" * 999), data(3, b"b"), padded(1, b"a", 0), data(3, b"c"), portion=portion)
    assert [line for line in events if not line.startswith("Data 1")] == ["Data 3 b (1)", "Reset 1 FLOW_CONTROL_ERROR", "Data 3 c (1)"]
    assert talk.written() == ["RstStream 1 FLOW_CONTROL_ERROR"]


@pytest.mark.parametrize("portion", [None, 1, 1000])
def test_data_longer_than_the_frames_we_allow_fails_the_connection(portion: int | None) -> None:
    talk = Talk(Role.SERVER, Limits(max_frame_bytes=16_384)).begin()
    accepted(talk)
    assert len(talk.send(data(1, bytes(16_384)))) == 1
    assert talk.send(raw(0, 0, 1, bytes(16_385)), portion=portion) == ["ConnectionFailed FRAME_SIZE_ERROR"]


def test_what_is_not_consumed_is_not_given_back() -> None:
    talk = Talk(Role.SERVER, Limits(stream_window_bytes=1000)).begin()
    stream = accepted(talk)
    talk.send(data(1, bytes(1000)))
    assert talk.written() == []
    talk.connection.consumed(stream, 499)
    assert talk.written() == []
    talk.connection.consumed(stream, 1)
    assert talk.written()[0] == "WindowUpdate 1 500"
    assert talk.send(data(1, bytes(501))) == ["Reset 1 FLOW_CONTROL_ERROR"]


def test_padding_is_given_back() -> None:
    talk = Talk(Role.SERVER, Limits(stream_window_bytes=1000)).begin()
    accepted(talk)
    for _ in range(4):
        assert talk.send(padded(1, b"", 249)) == []
    assert talk.written()[0] == "WindowUpdate 1 500"


ROUND_TRIP_S = 0.01


class Bulk:
    """A server's stream on which the peer always uses the whole window, each time within `turn_s`."""

    def __init__(self, limits: Limits, budget: Budget) -> None:
        self.talk = Talk(Role.SERVER, limits, budget).begin()
        self.stream = accepted(self.talk)
        self.limits = limits

    def turn(self, turn_s: float) -> int:
        """One window; returns how large the next is."""
        self.talk.now_s += ROUND_TRIP_S
        self._answer_pings()
        allowed = self.stream.receive_window
        while allowed > 0:
            size = min(allowed, self.limits.max_frame_bytes)
            self.talk.send(raw(0, 0, self.stream.id, bytes(size)))
            allowed -= size
        self.talk.now_s += turn_s - ROUND_TRIP_S
        self.talk.send(window(0, 1))
        self.talk.connection.consumed(self.stream, self.stream.window - self.stream.receive_window)
        return self.stream.window

    def _answer_pings(self) -> None:
        octets, self.talk.connection.outgoing = b"".join(self.talk.connection.outgoing), []
        if raw(6, 0, 0, b"\x00hb-rtt\x00") in octets:
            self.talk.send(raw(6, 1, 0, b"\x00hb-rtt\x00"))


SMALL = Limits(stream_window_bytes=64 * KIB, max_stream_window_bytes=1 * MIB)


def test_a_window_that_is_used_up_within_a_round_trip_doubles_up_to_the_maximum() -> None:
    bulk = Bulk(SMALL, Budget(10 * MIB))
    assert [bulk.turn(0.012) // KIB for _ in range(7)] == [64, 128, 256, 512, 1024, 1024, 1024]


def test_a_window_that_lasts_longer_stays() -> None:
    bulk = Bulk(SMALL, Budget(10 * MIB))
    assert {bulk.turn(0.1) // KIB for _ in range(7)} == {64}


def test_the_owners_pings_are_not_mistaken_for_ours() -> None:
    bulk = Bulk(SMALL, Budget(10 * MIB))
    bulk.turn(0.1)
    assert "Ping \0hb-rtt\0" in bulk.talk.written()
    assert bulk.talk.send(raw(6, 1, 0, b"ambient!")) == ["Pong ambient!"]
    assert bulk.talk.send(raw(6, 1, 0, b"\0hb-rtt\0")) == []


def test_windows_grow_within_the_budget_and_give_it_back() -> None:
    budget = Budget(100 * KIB)
    bulk = Bulk(SMALL, budget)
    assert [bulk.turn(0.012) // KIB for _ in range(4)] == [64, 128, 128, 128]
    assert budget.free_bytes == 36 * KIB
    bulk.talk.connection.reset_stream(bulk.stream, 8)
    assert bulk.stream.window == 64 * KIB
    assert budget.free_bytes == 100 * KIB


@pytest.mark.parametrize("last", [lambda talk: talk.connection.receive_eof(), lambda talk: talk.send(b"\0\0\1\0\0\0\0\0\0x")])
def test_the_budget_comes_back_when_the_connection_ends(last) -> None:
    budget = Budget(10 * MIB)
    bulk = Bulk(SMALL, budget)
    for _ in range(4):
        bulk.turn(0.012)
    assert budget.free_bytes < 10 * MIB
    last(bulk.talk)
    assert budget.free_bytes == 10 * MIB
    bulk.talk.connection.receive_eof()
    assert budget.free_bytes == 10 * MIB


def test_a_client_accepts_data_within_its_window_after_the_answer() -> None:
    talk, [stream] = client()
    talk.send(headers(1, (":status", "200")))
    assert stream.receive_window == 256 * KIB
