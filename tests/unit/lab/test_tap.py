import struct

from hypothesis import given
from hypothesis import strategies as st

from lab.tap import Segment, tcp_segment

ETHERNET = bytes(12)


def tcp(payload: bytes, source: int = 1234, destination: int = 15008) -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, 0, 0, 6 << 4, 0, 0, 0, 0) + bytes(4) + payload


def ipv4(segment: bytes, protocol: int = 6) -> bytes:
    return (
        ETHERNET
        + b"\x08\x00"
        + struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0, bytes(4), bytes(4))
        + segment
    )


def ipv6(segment: bytes, protocol: int = 6) -> bytes:
    return ETHERNET + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + bytes(32) + segment


def test_segments_of_both_families():
    expected = Segment(1234, 15008, b"hello")
    assert tcp_segment(ipv4(tcp(b"hello"))) == tcp_segment(ipv6(tcp(b"hello"))) == expected


def test_the_padding_of_a_short_frame_is_no_payload():
    assert tcp_segment(ipv4(tcp(b"")) + b"\0\0\0\0\0\0") == Segment(1234, 15008, b"")


def test_other_protocols_are_none():
    assert tcp_segment(ipv4(tcp(b"x"), protocol=17)) is None
    assert tcp_segment(ipv6(tcp(b"x"), protocol=58)) is None
    assert tcp_segment(ETHERNET + b"\x08\x06" + bytes(28)) is None


def test_tls_is_told_from_plaintext():
    assert Segment(1, 2, b"\x17\x03\x03\x00\x05hello").starts_tls_record()
    assert Segment(1, 2, b"\x16\x03\x01\x00\x05hello").starts_tls_record()
    assert not Segment(1, 2, b"GET / HTTP/1.1").starts_tls_record()


@given(st.binary(max_size=120), st.sampled_from([b"", ETHERNET + b"\x08\x00\x45", ETHERNET + b"\x86\xdd\x60"]))
def test_any_frame_may_pass(frame: bytes, start: bytes):
    tcp_segment(start + frame)
