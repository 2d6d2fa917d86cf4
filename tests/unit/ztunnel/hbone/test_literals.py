"""Whatever read_literals reads, the decoder reads too, and alike."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztunnel.hbone.blocks import connect_block, literal_field
from ztunnel.hbone.literals import read_literals

LIMIT = 16 * 1024
octets = st.binary(max_size=140)


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder(LIMIT).decode(block, raw=True)]


def test_a_connect_is_read() -> None:
    block = connect_block("10.0.0.1:80", (("baggage", "k8s.cluster.name=Kubernetes"),)) + literal_field(b"forwarded", b'for="10.0.0.2:1"')
    assert read_literals(block, LIMIT) == [
        (b":method", b"CONNECT"),
        (b":authority", b"10.0.0.1:80"),
        (b"baggage", b"k8s.cluster.name=Kubernetes"),
        (b"forwarded", b'for="10.0.0.2:1"'),
    ]


@given(st.lists(st.tuples(octets.filter(bool), octets), max_size=6))
def test_literals_are_read_as_the_decoder_reads_them(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(literal_field(name, value) for name, value in fields)
    short = all(len(name) < 127 and len(value) < 127 for name, value in fields)
    assert read_literals(block, LIMIT) == (decoded(block) if short else None)


@given(st.binary(max_size=60))
def test_whatever_is_read_of_any_bytes_the_decoder_reads_too(block: bytes) -> None:
    fields = read_literals(block, LIMIT)
    if fields is not None:
        assert fields == decoded(block)


@given(st.integers(1, 14), octets.filter(lambda value: len(value) < 127))
def test_names_of_the_static_table(index: int, value: bytes) -> None:
    block = bytes([index, len(value)]) + value
    assert read_literals(block, LIMIT) == decoded(block)


@pytest.mark.parametrize("index", [*range(1, 62)])
def test_entries_of_the_static_table(index: int) -> None:
    block = bytes([0x80 | index])
    assert read_literals(block, LIMIT) == decoded(block)


@pytest.mark.parametrize("index", [0, 62, 126, 127])
def test_other_entries_are_left_to_the_decoder(index: int) -> None:
    assert read_literals(bytes([0x80 | index]), LIMIT) is None


def test_a_block_that_decodes_to_too_much_is_left_to_the_decoder() -> None:
    assert read_literals(literal_field(b"a", b"") * 100, 33 * 100) is not None
    assert read_literals(literal_field(b"a", b"") * 100, 33 * 100 - 1) is None
