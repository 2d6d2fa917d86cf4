"""HTTP/2's error codes, and the two ways in which a peer can break the protocol."""

import enum

from mesh.errors import RemoteProtocolError


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection was ended. Source: RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD

    @classmethod
    def name_of(cls, code: int) -> str:
        """The name of a code that a peer sent, or its number: peers may send any (RFC 9113 section 7)."""
        return cls(code).name if code in cls._value2member_map_ else f"0x{code:x}"


class ConnectionViolation(RemoteProtocolError):
    """The peer broke the protocol beyond repair: GOAWAY with `status`. Source: RFC 9113 section 5.4.1."""


class StreamViolation(RemoteProtocolError):
    """The peer broke the protocol on one stream alone: RST_STREAM with `status`. Source: RFC 9113 section 5.4.2."""
