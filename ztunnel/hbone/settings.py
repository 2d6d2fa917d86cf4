"""SETTINGS: what we announce, and what the peer may. Source: RFC 9113 section 6.5; RFC 8441 section 3."""

import enum
import struct
from collections.abc import Mapping

from ztunnel.hbone.codes import ConnectionViolation, ErrorCode
from ztunnel.hbone.frames import DEFAULT_FRAME_BYTES, MAX_FRAME_BYTES, MAX_WINDOW
from ztunnel.hbone.limits import Limits

_ENTRY = struct.Struct(">HI")


class Setting(enum.IntEnum):
    """Identifiers of settings."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8


def client_settings(limits: Limits) -> bytes:
    """The payload of a client's SETTINGS: nothing may be pushed to it."""
    return _ENTRY.pack(Setting.ENABLE_PUSH, 0) + _common(limits)


def server_settings(limits: Limits) -> bytes:
    """The payload of a server's SETTINGS."""
    return _ENTRY.pack(Setting.MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams) + _common(limits)


def _common(limits: Limits) -> bytes:
    return b"".join(
        (
            _ENTRY.pack(Setting.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
            _ENTRY.pack(Setting.MAX_FRAME_SIZE, limits.max_frame_bytes),
            _ENTRY.pack(Setting.MAX_HEADER_LIST_SIZE, limits.max_header_list_bytes),
        )
    )


def parse_settings(payload: bytes, from_server: bool) -> Mapping[int, int]:
    """Reads the peer's settings; the last value of each is the one that counts, and every one must be allowed.

    Args:
        payload: a multiple of six bytes.
    Raises:
        ConnectionViolation: a value that cannot be.
    """
    settings: dict[int, int] = {}
    for key, value in _ENTRY.iter_unpack(payload):
        _check(key, value, from_server)
        settings[key] = value
    return settings


def _check(key: int, value: int, from_server: bool) -> None:
    if key == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
        raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value}")
    if key == Setting.MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}")
    if key == Setting.ENABLE_PUSH and value > (0 if from_server else 1):
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
    if key == Setting.ENABLE_CONNECT_PROTOCOL and value > 1:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"ENABLE_CONNECT_PROTOCOL {value}")
