"""The addresses that a pod comes from, asked of its own network namespace: the control plane hears of them a second later."""

import ctypes
import os
import socket
import threading
from ipaddress import ip_address

from mesh.model import IPAddress

_CLONE_NEWNET = 0x40000000
# Addresses for documentation (RFC 5737, RFC 3849): connecting a datagram socket sends nothing, and tells the address that would be used.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_ANY_PORT = 9


def own_addresses(netns: int) -> tuple[IPAddress, ...]:
    """The address that the namespace's connections to elsewhere have, of each family that leads anywhere; none where nothing does.

    Args:
        netns: descriptor of a network namespace.
    Raises:
        OSError: it is none, or may not be entered.
    """
    found: list[IPAddress] = []
    errors: list[OSError] = []

    def look() -> None:
        if ctypes.CDLL(None, use_errno=True).setns(netns, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            errors.append(OSError(number, f"setns: {os.strerror(number)}"))
            return
        found.extend(address for family, elsewhere in _ELSEWHERE if (address := _source_towards(family, elsewhere)) is not None)

    # A thread of its own: what runs in this one stays where it is.
    thread = threading.Thread(target=look, name="own addresses")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return tuple(found)


def _source_towards(family: socket.AddressFamily, elsewhere: str) -> IPAddress | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((elsewhere, _ANY_PORT))
            return ip_address(asking.getsockname()[0])
    except OSError:
        return None  # no route, or no such family
