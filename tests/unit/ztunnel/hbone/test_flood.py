"""Peers that only keep us busy are cut off; those that work are not."""

import pytest

from tests.unit.ztunnel.hbone.transcript import Talk, ack, connect, data, headers, ping, raw, reset, settings, window
from ztunnel.hbone import Limits, Role
from ztunnel.hbone.flood import Credits

CUT_OFF = "ConnectionFailed ENHANCE_YOUR_CALM"
LIMITS = Limits(control_burst=50, control_per_s=10.0, reset_burst=20, reset_per_s=5.0)

FLOODS = {
    "ping": ping(),
    "answers to pings nobody sent": raw(6, 1, 0, b"unasked!"),
    "settings": settings(),
    "priority": raw(2, 0, 5, bytes(5)),
    "unknown": raw(77, 0, 0, b"x"),
    "empty data": data(1, b""),
    "padding alone": raw(0, 8, 1, b"\x00"),
    "window updates": window(1, 1),
    "window updates of the connection": window(0, 1),
    "goaway": raw(7, 0, 0, bytes(8)),
    "reset of a stream that is gone": reset(3),
}


@pytest.mark.parametrize("name", FLOODS)
def test_frames_that_carry_nothing_run_out(name: str) -> None:
    talk = Talk(Role.SERVER, LIMITS).begin()
    talk.send(connect(1), connect(3), reset(3))
    events: list[str] = []
    for _ in range(LIMITS.control_burst + 1):
        events += talk.send(FLOODS[name])
    assert events[-1] == CUT_OFF
    assert talk.written()[-1].endswith("ENHANCE_YOUR_CALM")


@pytest.mark.parametrize("name", FLOODS)
def test_time_gives_back(name: str) -> None:
    talk = Talk(Role.SERVER, LIMITS).begin()
    talk.send(connect(1), connect(3), reset(3))
    for _ in range(5 * LIMITS.control_burst):
        talk.now_s += 0.1
        talk.send(FLOODS[name])
    assert not any(line.startswith("GoAway") for line in talk.written())


def test_work_gives_back() -> None:
    """A peer may answer every small message with two WINDOW_UPDATEs and a PING, whichever way the messages go."""
    talk = Talk(Role.SERVER, LIMITS).begin()
    talk.send(connect(1))
    stream = talk.events[-1].stream
    talk.connection.answer(stream, 200)
    for _ in range(5 * LIMITS.control_burst):
        talk.connection.send_data(stream, b"x")
        assert talk.send(window(0, 1), window(1, 1), ping()) == []
    for _ in range(5 * LIMITS.control_burst):
        assert talk.send(data(1, b"x"), window(0, 1), window(1, 1), ping()) == ["Data 1 x (1)"]


@pytest.mark.parametrize(
    "send",
    [
        lambda connection, stream, size: connection.send_data(stream, bytes(size)),
        lambda connection, stream, size: connection.data_header(stream, size),
    ],
)
def test_bulk_gives_back_as_much_as_a_peer_that_reads_4_kib_at_a_time_needs(send) -> None:
    talk = Talk(Role.SERVER, LIMITS).begin(max_frame_size=2**20, initial_window_size=2**30)
    talk.send(connect(1), window(0, 2**30))
    stream = talk.events[-1].stream
    talk.connection.answer(stream, 200)
    send(talk.connection, stream, 2**19)
    for _ in range(2**19 // 4096):
        assert talk.send(window(0, 4096), window(1, 4096)) == []


@pytest.mark.parametrize("frame", [raw(77, 0, 0, bytes(2**20)), raw(4, 0, 0, b"\0\1\0\0\0\0" * 1000)])
def test_long_frames_that_carry_nothing_cost_more(frame: bytes) -> None:
    assert Talk(Role.SERVER, LIMITS).begin().send(frame) == [CUT_OFF]


def test_rapid_reset_is_cut_off() -> None:
    talk = Talk(Role.SERVER, LIMITS).begin()
    for number in range(1, 2 * LIMITS.reset_burst + 3, 2):
        events = talk.send(connect(number), reset(number))
    assert events[-1] == CUT_OFF


def test_streams_that_were_answered_may_be_reset_at_any_rate() -> None:
    talk = Talk(Role.SERVER, LIMITS).begin()
    for number in range(1, 20 * LIMITS.reset_burst, 2):
        talk.send(connect(number))
        talk.connection.answer(talk.events[-1].stream, 200)
        assert talk.send(reset(number)) == [f"Reset {number} CANCEL"]


@pytest.mark.parametrize(
    "provoke",
    [
        lambda number: connect(number) + window(number, 0),
        lambda number: connect(number, ("X", "y")),
        lambda number: headers(number, (":method", "GET"), (":scheme", "http"), (":path", "/"), end=True),
        lambda number: connect(number) + headers(number, ("a", "b"), end=True),
    ],
)
def test_making_us_reset_is_no_way_around(provoke) -> None:
    """CVE-2025-8671: the peer need not send RST_STREAM itself."""
    talk = Talk(Role.SERVER, LIMITS).begin()
    for number in range(1, 2 * LIMITS.reset_burst + 3, 2):
        events = talk.send(provoke(number))
    assert events[-1] == CUT_OFF


def test_streams_beyond_the_limit_are_refused_and_the_others_live() -> None:
    talk = Talk(Role.SERVER, Limits(max_concurrent_streams=2)).begin()
    assert talk.send(connect(1), connect(3), connect(5))[-1] == "Rejected 5"
    assert talk.written() == ["RstStream 5 REFUSED_STREAM"]
    assert talk.send(data(1, b"x")) == ["Data 1 x (1)"]
    talk.send(reset(1))
    assert talk.send(connect(7)) == ["ConnectRequested 7 10.0.0.1:80"]


@pytest.mark.parametrize("fragment", [b"", b"\x00\x01a\x01b"])
def test_continuation_without_end_is_cut_off(fragment: bytes) -> None:
    talk = Talk(Role.SERVER).begin()
    talk.send(raw(1, 0, 1))
    events: list[str] = []
    for _ in range(17):
        assert events == []
        events = talk.send(raw(9, 0, 1, fragment))
    assert events == [CUT_OFF]


def test_a_block_of_many_continuations_is_bounded_in_bytes() -> None:
    talk = Talk(Role.SERVER).begin()
    assert talk.send(raw(1, 0, 1, bytes(10_000)), raw(9, 0, 1, bytes(10_000))) == [CUT_OFF]


def test_an_interim_response_costs() -> None:
    talk = Talk(Role.CLIENT, LIMITS).begin()
    talk.connection.open_stream(b"", None)
    events: list[str] = []
    for _ in range(LIMITS.control_burst + 1):
        events += talk.send(headers(1, (":status", "100")))
    assert events == [CUT_OFF]


def test_a_server_may_refuse_all_streams_of_a_client() -> None:
    talk = Talk(Role.CLIENT, LIMITS).begin()
    for number in range(1, 10 * LIMITS.reset_burst, 2):
        talk.connection.open_stream(b"", None)
        assert talk.send(reset(number, 7)) == [f"Reset {number} REFUSED_STREAM"]


def test_what_is_remembered_of_streams_is_bounded() -> None:
    talk = Talk(Role.SERVER).begin()
    for number in range(1, 4001, 2):
        talk.send(connect(number))
        talk.connection.reset_stream(talk.events[-1].stream, 8)
        talk.events.clear()
    assert len(talk.connection._gone._how) == 512
    assert talk.send(data(3999, b"late")) == []
    talk.written()
    assert talk.send(data(1, b"very late")) == []
    assert talk.written() == ["RstStream 1 STREAM_CLOSED"]


def test_credits() -> None:
    bucket = Credits(10, 2.0)
    assert bucket.spend(10, 0, 0.0)
    assert bucket.spend(2, 0, 1.0)
    assert not bucket.spend(1, 0, 1.0)
    assert bucket.spend(100, 1000, 1.0)
    assert not bucket.spend(1, 0, 1.0)


def test_time_gives_back_a_burst_at_most_and_takes_nothing_that_work_saved() -> None:
    bucket = Credits(10, 2.0)
    assert bucket.spend(0, 50, 0.0)
    assert bucket.spend(60, 0, 1000.0)
    assert bucket.spend(10, 0, 2000.0)
    assert not bucket.spend(1, 0, 2000.0)


def test_an_acknowledgement_costs_nothing() -> None:
    talk = Talk(Role.SERVER, LIMITS)
    talk.connection.start()
    talk.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings(), ack())
    for _ in range(LIMITS.control_burst - 1):
        assert talk.send(ping()) == []
