"""Reads along on an interface of a namespace, as anyone on the nodes' network could."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lab.netns import inside

# Source: linux/if_ether.h and IANA's protocol numbers.
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6, _IPPROTO_TCP = 0x0003, 0x0800, 0x86DD, 6
# Source: asm-generic/socket.h; Python does not name it.
_SO_RCVBUFFORCE = 33
# As much as the demo's few requests need, many times over; what overflows is lost silently.
_BUFFER_BYTES = 4 * 2**20
_MAX_FRAME_BYTES = 65600
# TLS records: content types handshake and application data, and the version that all of TLS 1.3 writes. Source: RFC 8446, section 5.1.
_TLS_RECORDS = (b"\x16\x03\x01", b"\x16\x03\x03", b"\x17\x03\x03")


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment that passed."""

    source_port: int
    destination_port: int
    payload: bytes

    def starts_tls_record(self) -> bool:
        return self.payload.startswith(_TLS_RECORDS)


def tcp_segment(frame: bytes) -> Segment | None:
    """Reads an Ethernet frame; None: no TCP, or cut short. Source: RFC 791, RFC 8200, RFC 9293."""
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
    if kind == _ETH_P_IP and len(packet) >= 20 and packet[9] == _IPPROTO_TCP:
        header_bytes, total_bytes = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        segment = packet[header_bytes:total_bytes]
    elif kind == _ETH_P_IPV6 and len(packet) >= 40 and packet[6] == _IPPROTO_TCP:
        segment = packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
    else:
        return None
    if len(segment) < 20:
        return None
    data_offset = (segment[12] >> 4) * 4
    return Segment(int.from_bytes(segment[:2], "big"), int.from_bytes(segment[2:4], "big"), segment[data_offset:])


class Tap:
    """A packet socket on an interface; whatever passed while it was open can be read from it."""

    def __init__(self, netns: str, interface: str) -> None:
        """Raises OSError: no such namespace or interface, or we may not."""

        def make() -> socket.socket:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            opened.bind((interface, 0))
            opened.setblocking(False)
            return opened

        self._socket = inside(netns, make)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def take(self) -> tuple[Segment, ...]:
        """The TCP segments that passed since the last call. The kernel queues a frame when it is sent: none is still on its way."""
        return tuple(segment for frame in self._frames() if (segment := tcp_segment(frame)) is not None)

    def _frames(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._socket.recv(_MAX_FRAME_BYTES)
            except BlockingIOError:
                return
