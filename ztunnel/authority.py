"""Reads "address:port": the :authority of a CONNECT, which a hostile peer may have written, and the engine's own destinations."""

from ipaddress import AddressValueError, IPv4Address, IPv6Address

from mesh.errors import RemoteProtocolError
from mesh.model import IPAddress, SocketAddress

# "[" + the longest IPv6 text (8 groups of 4, 7 colons; the mixed form has 45) + "]:65535".
MAX_LENGTH = 53
_DIGITS = frozenset("0123456789")


def parse_authority(text: str) -> SocketAddress:
    """Reads an address and a port; nothing else: no host name, zone, user, space or sign.

    Raises:
        RemoteProtocolError: it is not one (status 400).
    Source: HBONE; RFC 3986 section 3.2.2 for the brackets; RFC 9113 section 8.5: a CONNECT names host and port.
    """
    if len(text) > MAX_LENGTH:
        raise _bad(text)
    host, colon, port = text.rpartition(":")
    if not colon or not 1 <= len(port) <= 5 or not _DIGITS.issuperset(port) or port[0] == "0" or int(port) > 65535:
        raise _bad(text)
    return SocketAddress(_parse_host(host, text), int(port))


def _parse_host(host: str, text: str) -> IPAddress:
    try:
        if not host.startswith("["):
            return IPv4Address(host)
        if not host.endswith("]") or "%" in host:
            raise _bad(text)
        ip = IPv6Address(host[1:-1])
    except AddressValueError:
        raise _bad(text) from None
    if ip.ipv4_mapped is not None:
        raise _bad(text)
    return ip


def _bad(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(400, f"not an address and port: {text[:MAX_LENGTH]!r}")
