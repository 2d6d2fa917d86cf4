"""Header blocks of plain literals and static entries, read without the decoder: what `blocks` makes, and so what our own peers send.

Neither reads or writes the dynamic table, so a block of nothing else means the same at any time.
Source: RFC 7541 sections 5.2, 6.1 and 6.2.2.
"""

from hpack.table import HeaderTable

from ztunnel.hbone.fields import Field

# 0000xxxx: literal without indexing; xxxx is 0 for a name that follows, 15 for an index that goes on (which the decoder reads).
_LONG_INDEX = 15
# 1xxxxxxx: a whole entry; up to 61 of the static table, beyond it of the dynamic one.
_INDEXED = 0x80
# A string's first byte: its top bit says Huffman, 127 that the length goes on.
_LONG_STRING = 127
# RFC 9113 section 10.5.1: what each field counts beside its octets.
_FIELD_OVERHEAD = 32

_STATIC = [None, *((bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE)]
_STATIC_NAMES = [b"", *(name for name, _ in HeaderTable.STATIC_TABLE[: _LONG_INDEX - 1])]


def read_literals(block: bytes, max_header_list_bytes: int) -> list[Field] | None:
    """The fields of a block of short, plain literals; None when it has anything else, or is too large, and needs the decoder."""
    fields: list[Field] = []
    at, size = 0, len(block)
    total = 0
    try:
        while at < size:
            index = block[at]
            at += 1
            if index >= _INDEXED:
                entry = _STATIC[index - _INDEXED]
                if entry is None:
                    return None
                fields.append(entry)
                total += _FIELD_OVERHEAD + len(entry[0]) + len(entry[1])
                continue
            if index >= _LONG_INDEX:
                return None
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
