"""Everything that passes on a node's network, as somebody there could read it."""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Self

from lab.netns import inside

# Source: linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h.
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6, _SOL_PACKET, _PACKET_STATISTICS, _SO_RCVBUFFORCE = 0x0003, 0x0800, 0x86DD, 263, 6, 33
_BUFFER_BYTES = 64 * 2**20
_MAX_FRAME_BYTES = 2**17


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet; `ports` are (0, 0) where the protocol has none."""

    source: str
    destination: str
    protocol: int
    ports: tuple[int, int]
    payload: bytes

    def is_of(self, addresses: set[str]) -> bool:
        return self.source in addresses or self.destination in addresses


def read_packet(frame: bytes) -> Packet | None:
    """Reads an Ethernet frame; None: no IP. Source: RFC 791, RFC 8200 (the lab's packets have no extension headers)."""
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
    if kind == _ETH_P_IP:
        header, protocol = (packet[0] & 15) * 4, packet[9]
        source, destination = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
    elif kind == _ETH_P_IPV6:
        header, protocol = 40, packet[6]
        source, destination = str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40]))
    else:
        return None
    payload = packet[header:]
    has_ports = protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    ports = struct.unpack("!HH", payload[:4]) if has_ports else (0, 0)
    return Packet(source, destination, protocol, ports, payload)


class Wire:
    """Reads along on `eth0` of a namespace while it is open."""

    def __init__(self, netns: str) -> None:
        def make() -> socket.socket:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            opened.bind(("eth0", 0))
            opened.setblocking(False)
            return opened

        self._socket = inside(netns, make)
        self._frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def frames(self) -> list[bytes]:
        """All frames so far; none was missed, or this fails."""
        self._frames += self._waiting()
        _, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        assert dropped == 0, "too much passed to read all of it"
        return self._frames

    def packets(self, wanted: Callable[[Packet], bool]) -> list[Packet]:
        read = (read_packet(frame) for frame in self.frames())
        return [packet for packet in read if packet is not None and wanted(packet)]

    def shows(self, text: bytes) -> bool:
        return any(text in frame for frame in self.frames())

    def _waiting(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._socket.recv(_MAX_FRAME_BYTES)
            except BlockingIOError:
                return
