"""What a connection grants its peer: windows, sizes, and how much that is no work it may send."""

from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one connection.

    Args:
        stream_window_bytes: what a peer may send on a new stream before anything is consumed. A quarter MiB fills 1 Gb/s
            at 2 ms; an idle stream costs nothing, a stalled one this much. Not below 65,535, which a peer may send before it
            has read our SETTINGS.
        max_stream_window_bytes: what the window of a stream that drains fast may grow to: 1 Gb/s at 32 ms. The figure
            of the ecosystem's own node proxy.
        connection_window_bytes: given back as bytes arrive, so it bounds only what is in flight. Several times
            the stream's: with equal sizes a single stalled stream could hold all of it. Not below 65,535 either.
        max_frame_bytes: the longest DATA frame that is accepted (SETTINGS_MAX_FRAME_SIZE). Frames are never buffered, so
            a large one costs nothing and saves headers. 16,384 to 2^24-1.
        max_concurrent_streams: streams a peer may have open; each may hold a stream window.
        max_header_list_bytes: of one request or response, as RFC 9113 section 10.5.1 counts them; also bounds the encoded
            block. A CONNECT has some 300 bytes.
        control_burst, control_per_s: frames that carry no work (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown ones, empty DATA)
            which a peer may send at once, and what time gives back of it. DATA in either direction gives back
            as well. A thousand cost us 3 ms.
        reset_burst, reset_per_s: streams that a peer may open and reset, or make us reset or refuse, before they were
            answered (CVE-2023-44487, CVE-2025-8671). The figures of nghttp2.
    """

    stream_window_bytes: int = 256 * _KIB
    max_stream_window_bytes: int = 4 * _MIB
    connection_window_bytes: int = 16 * _MIB
    max_frame_bytes: int = _MIB
    max_concurrent_streams: int = 256
    max_header_list_bytes: int = 16 * _KIB
    control_burst: int = 1000
    control_per_s: float = 100.0
    reset_burst: int = 1000
    reset_per_s: float = 33.0


class Budget:
    """Memory of the whole process that may be promised to peers as stream windows beyond the initial ones.

    Args:
        total_bytes: the sum of all promises that may be out at one time.
    """

    __slots__ = ("free_bytes",)

    def __init__(self, total_bytes: int) -> None:
        self.free_bytes = total_bytes

    def take(self, n: int) -> bool:
        """Takes n bytes if they are there, else nothing."""
        if n > self.free_bytes:
            return False
        self.free_bytes -= n
        return True

    def give_back(self, n: int) -> None:
        """Returns n bytes that were taken."""
        self.free_bytes += n
