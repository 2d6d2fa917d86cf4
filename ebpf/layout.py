"""What the capture programs and Python share: programs/capture.h and the maps' values, byte for byte."""

import ctypes
import enum
from ipaddress import IPv4Address, IPv6Address

# Marks of sockets and packets, all under MARK_MASK. Source: ambient ecosystem.
MARK_MASK = 0xFFF
ZTUNNEL_MARK = 0x539  # ztunnel's own sockets
LOOP_MARK = 0x111  # connections between ztunnel and the application

# Listeners of ztunnel in the pod's namespace, in the order of enum direction.
LISTENER_PORTS = (15001, 15006, 15008)
MEMBERS = 16

ADDRESS_BYTES = 16
# OWN_ADDRESSES, ORIGINALS, ORIGINAL_NAME of capture.bpf.c.
OWN_ADDRESSES = 64
ORIGINAL_NAME_BYTES = 64


class SynSent(enum.IntEnum):
    """Which sockets that wait for the answer to their SYN a walk marks."""

    NONE = 0
    ALL = 1
    NOT_LOOPED = 2  # those that do not leave by lo


class Settings(ctypes.Structure):
    """struct settings of capture.bpf.c."""

    _fields_ = (("hold_until_ns", ctypes.c_uint64), ("inbound", ctypes.c_uint32), ("reserved", ctypes.c_uint32))


class Walk(ctypes.Structure):
    """struct walk of sockets.bpf.c."""

    _fields_ = (
        ("from_mark", ctypes.c_uint32),
        ("to_mark", ctypes.c_uint32),
        ("syn_sent", ctypes.c_uint32),
        ("marked", ctypes.c_uint32),
        ("half_open", ctypes.c_uint32),
        ("listeners", ctypes.c_uint32 * len(LISTENER_PORTS)),
    )


def pack_address(ip: IPv4Address | IPv6Address) -> bytes:
    """The bytes of struct address: IPv4 as ::ffff:a.b.c.d."""
    return ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed


def unpack_address(packed: bytes) -> IPv4Address | IPv6Address:
    """The reverse of pack_address."""
    ip = IPv6Address(packed)
    return ip.ipv4_mapped or ip
