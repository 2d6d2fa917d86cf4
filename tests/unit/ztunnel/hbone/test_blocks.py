"""Header blocks that we send decode to what was meant, on any connection."""

import hpack
import pytest

from mesh.errors import LocalProtocolError
from ztunnel.hbone import ErrorCode, connect_block, literal_field
from ztunnel.hbone.blocks import status_block


def decode(block: bytes) -> list[tuple[str, str]]:
    decoder = hpack.Decoder()
    fields = [tuple(field) for field in decoder.decode(block)]
    assert not decoder.header_table.dynamic_entries
    return fields


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 300, 16_000])
def test_lengths(size: int) -> None:
    assert decode(literal_field(b"forwarded", b"x" * size)) == [("forwarded", "x" * size)]


def test_connect() -> None:
    block = connect_block("[fd00::1]:80", (("baggage", "k8s.cluster.name=a"), ("traceparent", "00-1"))) + literal_field(
        b"forwarded", b"for=x"
    )
    assert decode(block) == [
        (":method", "CONNECT"),
        (":authority", "[fd00::1]:80"),
        ("baggage", "k8s.cluster.name=a"),
        ("traceparent", "00-1"),
        ("forwarded", "for=x"),
    ]


@pytest.mark.parametrize(
    ("authority", "headers"),
    [
        ("", ()),
        ("a b", ()),
        ("ä:80", ()),
        ("a:80\r\n", ()),
        ("a:80", (("Baggage", "x"),)),
        ("a:80", (("a", "b\nc"),)),
        ("a:80", ((":path", "/"),)),
    ],
)
def test_what_may_not_be_sent(authority: str, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(LocalProtocolError):
        connect_block(authority, headers)


def test_status() -> None:
    assert decode(status_block(200)) == [(":status", "200")]
    assert decode(status_block(503)) == [(":status", "503")]
    assert decode(status_block(405)) == [(":status", "405"), ("allow", "CONNECT")]


def test_names_of_codes() -> None:
    assert ErrorCode.name_of(0xB) == "ENHANCE_YOUR_CALM"
    assert ErrorCode.name_of(0x1234) == "0x1234"
