"""Decoding header blocks, with bounds on what one may cost. Source: RFC 7541; RFC 9113 section 4.3."""

import hpack

from ztunnel.hbone.codes import ConnectionViolation, ErrorCode
from ztunnel.hbone.fields import Field
from ztunnel.hbone.literals import read_literals

# RFC 7541 section 4.2: an encoder never needs more than two (the smallest size in between, and the last). Each costs a decoder time and
# counts towards no other bound.
_MAX_SIZE_UPDATES = 2


class Inflater:
    """One connection's decoder; the dynamic table stays at HTTP/2's 4096 bytes.

    Args:
        max_header_list_bytes: the most that one block may decode to, counted as RFC 9113 section 10.5.1 does.
    """

    __slots__ = ("_decoder", "_max_header_list_bytes")

    def __init__(self, max_header_list_bytes: int) -> None:
        self._max_header_list_bytes = max_header_list_bytes
        self._decoder = hpack.Decoder(max_header_list_bytes)

    def decode(self, block: bytes) -> list[Field]:
        """Decodes one whole block.

        Raises:
            ConnectionViolation: it cannot be decoded, or is too large; the table is out of step from there on.
        """
        fields = read_literals(block, self._max_header_list_bytes)
        if fields is not None:
            return fields
        if _size_updates(block) > _MAX_SIZE_UPDATES:
            raise ConnectionViolation(ErrorCode.COMPRESSION_ERROR, "too many table size updates")
        try:
            return list(self._decoder.decode(block, raw=True))
        except hpack.OversizedHeaderListError as error:
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "header list too large") from error
        except hpack.HPACKError as error:
            raise ConnectionViolation(ErrorCode.COMPRESSION_ERROR, "undecodable header block") from error


def _size_updates(block: bytes) -> int:
    """How many dynamic table size updates (001xxxxx, RFC 7541 section 6.3) the block begins with."""
    at = updates = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        updates += 1
        more = block[at] & 0x1F == 0x1F
        at += 1
        while more and at < len(block):
            more = block[at] >= 0x80
            at += 1
    return updates
