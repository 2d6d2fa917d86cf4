"""Header blocks that we send: literals only, so that they can be made once and sent on any connection.

They neither read nor write the dynamic table. Source: RFC 7541.
"""

from functools import cache

from hpack.hpack import encode_integer

from mesh.errors import LocalProtocolError
from ztunnel.hbone.fields import valid_authority, valid_name, valid_value

# Dynamic table size update to 0 (section 6.3), before the first block of a connection: we never use the table, and whatever
# the peer's SETTINGS_HEADER_TABLE_SIZE becomes, 0 is within it.
NO_DYNAMIC_TABLE = b"\x20"

# Literal without indexing, name from the static table (section 6.2.2): the index of :authority, :method, :status.
_AUTHORITY, _METHOD, _STATUS = b"\x01", b"\x02", b"\x08"
_LITERAL_NAME = b"\x00"

# The lengths below 127 take one byte (section 5.1); nearly all are.
_ONE_BYTE = [bytes([n]) for n in range(127)]

_CONNECT = _METHOD + _ONE_BYTE[7] + b"CONNECT"


def _string(octets: bytes) -> bytes:
    size = len(octets)
    return (_ONE_BYTE[size] if size < 127 else bytes(encode_integer(size, 7))) + octets


def literal_field(name: bytes, value: bytes) -> bytes:
    """One field, to be appended to a block; name and value are not checked. Source: section 6.2.2."""
    return _LITERAL_NAME + _string(name) + _string(value)


def connect_block(authority: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The header block of a CONNECT; good for any connection, any number of times.

    Args:
        authority: host:port to reach.
        headers: further fields; names in lower case.
    Raises:
        LocalProtocolError: something that may not be sent.
    """
    if not valid_authority(authority.encode()):
        raise LocalProtocolError(f"not an authority: {authority!r}")
    block = [_CONNECT, _AUTHORITY, _string(authority.encode())]
    for name, value in headers:
        octets = name.encode(), value.encode()
        if not valid_name(octets[0]) or not valid_value(octets[1]):
            raise LocalProtocolError(f"not a header field: {name!r}: {value!r}")
        block.append(literal_field(*octets))
    return b"".join(block)


@cache
def status_block(status: int) -> bytes:
    """The header block of a response.

    Args:
        status: 200 to 599. A 405 says which method is allowed (RFC 9110 section 15.5.6).
    Raises:
        LocalProtocolError: another status.
    """
    if not 200 <= status <= 599:
        raise LocalProtocolError(f"not a final status: {status}")
    if status == 200:
        return b"\x88"  # indexed, from the static table
    block = _STATUS + _string(str(status).encode())
    return block + literal_field(b"allow", b"CONNECT") if status == 405 else block
