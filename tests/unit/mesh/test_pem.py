"""Files of several PEM blocks: all of them, or an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.pem import split_pem

ONE, TWO = b"-----BEGIN THING-----\nAAAA\n-----END THING-----", b"-----BEGIN THING-----\r\nBBBB\r\nCC==\r\n-----END THING-----"


@pytest.mark.parametrize(
    "content", [ONE + b"\n" + TWO, ONE + b"\n\n# a comment - with a hyphen\n" + TWO + b"\n", b"text\n" + ONE + b"\r\n" + TWO + b"\r\n"]
)
def test_blocks_with_text_between_them(content: bytes) -> None:
    assert [block.strip() for block in split_pem(content, "THING")] == [ONE, TWO]


def test_there_may_be_none() -> None:
    assert split_pem(b"", "THING") == split_pem(b"nothing here\n", "THING") == []


def test_no_cut_goes_unnoticed() -> None:
    whole = ONE + b"\n" + TWO + b"\n"
    for end in range(1, len(whole) - 1):
        if end not in {len(ONE), len(ONE) + 1}:
            with pytest.raises(ValueError, match="whole blocks of THING"):
                split_pem(whole[:end], "THING")


@pytest.mark.parametrize(
    "content",
    [
        ONE.replace(b"THING", b"OTHER"),
        ONE + b"\n-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----\n",
        ONE + TWO,
        b"-----END THING-----\n",
        b"-----BEGIN THING-----\n" + ONE.replace(b"BEGIN", b"BEGUN"),
    ],
)
def test_what_is_something_else(content: bytes) -> None:
    with pytest.raises(ValueError, match="whole blocks of THING"):
        split_pem(content, "THING")


@given(st.lists(st.sampled_from([ONE, TWO, b"-----BEGIN THING-----", b"-----END THING-----", b"text", b"-"])).map(b"\n".join))
def test_every_block_that_is_returned_is_whole(content: bytes) -> None:
    try:
        blocks = split_pem(content, "THING")
    except ValueError:
        return
    assert all(block.startswith(b"-----BEGIN THING-----") and block.strip().endswith(b"-----END THING-----") for block in blocks)
    assert len(blocks) == content.count(b"-----END THING-----")
