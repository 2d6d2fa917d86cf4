"""Header blocks of plain literals, read without the decoder: what `blocks` makes, and so what our own peers send.

Literals without indexing neither read nor write the dynamic table, so a block of nothing else means the same at any time.
Source: RFC 7541 sections 5.2 and 6.2.2.
"""

from hpack.table import HeaderTable

from ztunnel.hbone.fields import Field

# 0000xxxx: literal without indexing; xxxx is 0 for a name that follows, 15 for an index that goes on (which the decoder reads).
_LONG_INDEX = 15
# A string's first byte: its top bit says Huffman, 127 that the length goes on.
_LONG_STRING = 127
# RFC 9113 section 10.5.1: what each field counts beside its octets.
_FIELD_OVERHEAD = 32

_STATIC_NAMES = [b"", *(name for name, _ in HeaderTable.STATIC_TABLE[: _LONG_INDEX - 1])]


def read_literals(block: bytes, max_header_list_bytes: int) -> list[Field] | None:
    """The fields of a block of short, plain literals; None when it has anything else, or is too large, and needs the decoder."""
    fields: list[Field] = []
    at, size = 0, len(block)
    total = 0
    try:
        while at < size:
            index = block[at]
            if index >= _LONG_INDEX:
                return None
            at += 1
            if index:
                name = _STATIC_NAMES[index]
            else:
                length = block[at]
                if length >= _LONG_STRING:
                    return None
                name = block[at + 1 : at + 1 + length]
                at += 1 + length
            length = block[at]
            if length >= _LONG_STRING:
                return None
            stop = at + 1 + length
            fields.append((name, block[at + 1 : stop]))
            total += _FIELD_OVERHEAD + len(name) + length
            at = stop
    except IndexError:
        return None
    return fields if at == size and total <= max_header_list_bytes else None
