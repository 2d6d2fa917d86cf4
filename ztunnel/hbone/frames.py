"""HTTP/2 frames: their layout, how they are written, and the rules that need nothing but the frame itself.

Source: RFC 9113 sections 4 and 6.
"""

import enum
import struct

from ztunnel.hbone.codes import ConnectionViolation, ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Length (3 bytes) and type (1) are read as one number: length << 8 | type. Then flags and stream.
HEADER = struct.Struct(">IBI")
HEADER_BYTES = HEADER.size

END_STREAM = 0x1  # DATA, HEADERS
ACK = 0x1  # SETTINGS, PING
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FIELDS = 0x20

MAX_ID = 2**31 - 1
MAX_WINDOW = 2**31 - 1  # section 6.9.1
DEFAULT_WINDOW = 65_535  # section 6.9.2
DEFAULT_FRAME_BYTES = 16_384  # section 4.2: what every peer must accept
MAX_FRAME_BYTES = 2**24 - 1  # section 4.2

# Frames other than DATA are buffered until they are complete. None that we use has reason to be longer than
# what every peer accepts, whatever longer DATA we allow.
MAX_BUFFERED_BYTES = DEFAULT_FRAME_BYTES

# Of a GOAWAY's debug data only so much is told: enough for a sentence in a log.
MAX_REASON_BYTES = 256


class Kind(enum.IntEnum):
    """Frame types."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


_OF_A_STREAM = frozenset({Kind.DATA, Kind.HEADERS, Kind.PRIORITY, Kind.RST_STREAM, Kind.PUSH_PROMISE, Kind.CONTINUATION})
_OF_THE_CONNECTION = frozenset({Kind.SETTINGS, Kind.PING, Kind.GOAWAY})
_FIXED_BYTES = {Kind.PRIORITY: 5, Kind.RST_STREAM: 4, Kind.PING: 8, Kind.WINDOW_UPDATE: 4}
KNOWN = frozenset(Kind)


def frame(kind: Kind, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One whole frame; the payload's length is the caller's care."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def header_frames(stream_id: int, block: bytes, end_stream: bool, max_frame_bytes: int) -> bytes:
    """HEADERS with a header block, and as many CONTINUATIONs as it takes. Source: section 6.10."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame_bytes:
        return frame(Kind.HEADERS, flags | END_HEADERS, stream_id, block)
    pieces = [block[at : at + max_frame_bytes] for at in range(0, len(block), max_frame_bytes)]
    frames = [frame(Kind.HEADERS, flags, stream_id, pieces[0])]
    frames += [frame(Kind.CONTINUATION, 0, stream_id, piece) for piece in pieces[1:-1]]
    frames.append(frame(Kind.CONTINUATION, END_HEADERS, stream_id, pieces[-1]))
    return b"".join(frames)


def reset_frame(stream_id: int, code: int) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def window_frame(stream_id: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def goaway_frame(last_stream_id: int, code: int, reason: str) -> bytes:
    return frame(Kind.GOAWAY, 0, 0, struct.pack(">II", last_stream_id, code) + reason.encode()[:MAX_REASON_BYTES])


def parse_goaway(payload: bytes) -> tuple[int, int, str]:
    """last_stream_id, code, reason (printable)."""
    last, code = struct.unpack_from(">II", payload)
    reason = payload[8 : 8 + MAX_REASON_BYTES].decode("ascii", "replace")
    return last & MAX_ID, code, "".join(c if c.isprintable() else "?" for c in reason)


def bytes_needed(head: bytes | bytearray) -> int:
    """How much of a frame must have arrived before it can be dealt with, as far as `head` shows.

    DATA is handed on as it comes, so its header is enough (and the padding's length); so it is for a frame too long to be buffered,
    which is dropped or refused.
    """
    if len(head) < HEADER_BYTES:
        return HEADER_BYTES
    word, flags, _ = HEADER.unpack_from(head)
    length, kind = word >> 8, word & 0xFF
    if kind == Kind.DATA:
        return HEADER_BYTES + (1 if flags & PADDED and length else 0)
    return HEADER_BYTES + (length if length <= MAX_BUFFERED_BYTES else 0)


def check_frame(kind: int, length: int, flags: int, stream_id: int, max_frame_bytes: int) -> None:
    """Checks what a frame's header alone shows.

    Raises:
        ConnectionViolation: its size or its stream cannot be.
    """
    if length > max_frame_bytes:
        raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes")
    if kind not in KNOWN:
        return
    name = Kind(kind).name
    if (kind in _OF_A_STREAM and stream_id == 0) or (kind in _OF_THE_CONNECTION and stream_id != 0):
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"{name} on stream {stream_id}")
    fixed = _FIXED_BYTES.get(Kind(kind), length)
    if kind == Kind.SETTINGS:
        fixed = 0 if flags & ACK else length - length % 6
    if length != fixed or (kind == Kind.GOAWAY and length < 8) or (kind == Kind.DATA and flags & PADDED and not length):
        raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, f"{name} of {length} bytes")
    if length > MAX_BUFFERED_BYTES and kind != Kind.DATA:
        raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, f"{name} of {length} bytes")


def header_fragment(flags: int, payload: bytes) -> bytes:
    """The piece of header block in a HEADERS frame, without padding and priority (which is ignored). Source: section 6.2.

    Raises:
        ConnectionViolation: the frame is too short for what its flags promise.
    """
    start, stop = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its padding")
        start, stop = 1, stop - payload[0]
    if flags & PRIORITY_FIELDS:
        if len(payload) < start + 5:
            raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its priority")
        start += 5
    if start > stop:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "padding longer than HEADERS")
    return payload[start:stop]
