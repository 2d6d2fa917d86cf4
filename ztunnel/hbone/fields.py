"""Header fields: what they may consist of, and what makes a request or a response well-formed.

Source: RFC 9113 sections 8.1 to 8.5; RFC 9110 section 5.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from ztunnel.hbone.codes import ErrorCode, StreamViolation

Field = tuple[bytes, bytes]

# A token in lower case: RFC 9110 section 5.6.2, RFC 9113 section 8.2.1.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# No control characters but tabs, and no blanks around it: RFC 9110 section 5.5.
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_AUTHORITY = re.compile(rb"[!-~]+")
_STATUS = re.compile(rb"[1-5][0-9][0-9]")

# RFC 9113 section 8.2.2.
_OF_HTTP_1 = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class Request(NamedTuple):
    """A well-formed request; authority is "" for all but CONNECT."""

    method: bytes
    authority: str
    headers: tuple[tuple[str, str], ...]


class Response(NamedTuple):
    """A well-formed response."""

    status: int
    headers: tuple[tuple[str, str], ...]


def valid_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def valid_value(value: bytes) -> bool:
    return _VALUE.fullmatch(value) is not None


def valid_authority(authority: bytes) -> bool:
    return _AUTHORITY.fullmatch(authority) is not None


def read_request(fields: Iterable[Field]) -> Request:
    """Checks a request.

    Raises:
        StreamViolation: it is malformed.
    """
    pseudo, headers = _split(fields)
    method = pseudo.get(b":method", b"")
    if method == b"CONNECT":
        authority = pseudo.get(b":authority", b"")
        if len(pseudo) != 2 or not valid_authority(authority):
            raise _malformed("CONNECT takes :method and :authority, nothing else")
        return Request(method, authority.decode("ascii"), headers)
    if not {b":method", b":scheme", b":path"} <= pseudo.keys() <= {b":method", b":scheme", b":path", b":authority"}:
        raise _malformed("a request takes :method, :scheme and :path")
    if not valid_name(method.lower()) or not pseudo[b":path"]:
        raise _malformed("empty :method or :path")
    return Request(method, "", headers)


def read_response(fields: Iterable[Field]) -> Response:
    """Checks a response, interim ones included.

    Raises:
        StreamViolation: it is malformed.
    """
    pseudo, headers = _split(fields)
    status = pseudo.get(b":status", b"")
    # Section 8.6: HTTP/2 has no 101.
    if len(pseudo) != 1 or not _STATUS.fullmatch(status) or status == b"101":
        raise _malformed("a response takes a :status")
    return Response(int(status), headers)


def check_trailers(fields: Iterable[Field]) -> None:
    """Checks trailers, which nobody reads.

    Raises:
        StreamViolation: they are malformed.
    """
    pseudo, _ = _split(fields)
    if pseudo:
        raise _malformed("pseudo-header in trailers")


def _split(fields: Iterable[Field]) -> tuple[dict[bytes, bytes], tuple[tuple[str, str], ...]]:
    """Pseudo-headers and the rest, each field checked."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[str, str]] = []
    for name, value in fields:
        if not valid_value(value):
            raise _malformed("field value with a character that may not be there")
        if name[:1] == b":":
            if headers or name in pseudo:
                raise _malformed("pseudo-header twice, or after a field")
            pseudo[name] = value
            continue
        if not valid_name(name):
            raise _malformed("field name with a character that may not be there")
        if name in _OF_HTTP_1 or (name == b"te" and value != b"trailers"):
            raise _malformed("field of HTTP/1.1")
        headers.append((name.decode("ascii"), value.decode("latin-1")))
    return pseudo, tuple(headers)


def _malformed(reason: str) -> StreamViolation:
    return StreamViolation(ErrorCode.PROTOCOL_ERROR, reason)
