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


# Which frames belong to a stream (True) and which to the connection; the others may be of either.
_OF_A_STREAM: dict[int, bool] = {
    Kind.DATA: True,
    Kind.HEADERS: True,
    Kind.PRIORITY: True,
    Kind.RST_STREAM: True,
    Kind.SETTINGS: False,
    Kind.PUSH_PROMISE: True,
    Kind.PING: False,
    Kind.GOAWAY: False,
    Kind.CONTINUATION: True,
}

# The shortest and the longest payload of each.
_SIZES: dict[int, tuple[int, int]] = {
    Kind.HEADERS: (0, MAX_BUFFERED_BYTES),
    Kind.PRIORITY: (5, 5),
    Kind.RST_STREAM: (4, 4),
    Kind.SETTINGS: (0, MAX_BUFFERED_BYTES),
    Kind.PUSH_PROMISE: (4, MAX_BUFFERED_BYTES),
    Kind.PING: (8, 8),
    Kind.GOAWAY: (8, MAX_BUFFERED_BYTES),
    Kind.WINDOW_UPDATE: (4, 4),
    Kind.CONTINUATION: (0, MAX_BUFFERED_BYTES),
}
_ANY_SIZE = (0, MAX_FRAME_BYTES)

# An enum's members are properties, and each frame would pay for them.
DATA, CONTINUATION, _SETTINGS = int(Kind.DATA), int(Kind.CONTINUATION), int(Kind.SETTINGS)


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

    DATA is handed on as it comes and unknown frames are dropped so: their header is enough (and the padding's length). So it is for
    a frame too long to be buffered, which is refused.
    """
    if len(head) < HEADER_BYTES:
        return HEADER_BYTES
    word, flags, _ = HEADER.unpack_from(head)
    length, kind = word >> 8, word & 0xFF
    if kind == DATA:
        return HEADER_BYTES + (1 if flags & PADDED and length else 0)
    return HEADER_BYTES + (length if kind in _SIZES and length <= MAX_BUFFERED_BYTES else 0)


def check_frame(kind: int, length: int, flags: int, stream_id: int, max_frame_bytes: int) -> None:
    """Checks what a frame's header alone shows.

    Raises:
        ConnectionViolation: its size or its stream cannot be.
    """
    if length > max_frame_bytes:
        raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes")
    if _OF_A_STREAM.get(kind, stream_id != 0) != (stream_id != 0):
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, f"{Kind(kind).name} on stream {stream_id}")
    shortest, longest = _SIZES.get(kind, _ANY_SIZE)
    wrong = not shortest <= length <= longest
    if kind == _SETTINGS:
        wrong = wrong or length % 6 != 0 or (length != 0 and flags & ACK != 0)
    elif kind == DATA:
        wrong = flags & PADDED != 0 and length == 0
    if wrong:
        code = ErrorCode.ENHANCE_YOUR_CALM if shortest < longest < length else ErrorCode.FRAME_SIZE_ERROR
        raise ConnectionViolation(code, f"{Kind(kind).name} of {length} bytes")


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
