"""Sockets inside a pod's network namespace: listeners, dialling with the client's address, original destinations."""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

from ztunnel.engine.interface import Cause, Endpoint

# The C class: what socket.socket adds to it in Python takes as long as the system calls themselves, at every accept and close.
Socket = socket.SocketType
CLONE_NEWNET = 0x40000000
# The ecosystem's mark of ztunnel's own sockets; capture leaves them alone.
ZTUNNEL_MARK = 0x539
# linux/in.h, linux/in6.h, linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h; the socket module does not name them.
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
SO_ORIGINAL_DST = 80
IP6T_SO_ORIGINAL_DST = 80
# Connections that wait to be accepted, per listener: a burst of a thousand clients fits, the kernel bounds it by somaxconn.
BACKLOG = 4096
# TCP keepalive of the ecosystem: idle seconds, interval seconds, probes.
KEEPALIVE = (180, 180, 9)
# Linger on, for no time: close() sends a reset.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_libc = ctypes.CDLL(None, use_errno=True)
_home_netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

_CAUSES = {
    errno.ECONNREFUSED: Cause.CONNECT_REFUSED,
    errno.ETIMEDOUT: Cause.CONNECT_TIMEOUT,
}


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@contextlib.contextmanager
def network_namespace(fd: int) -> Iterator[None]:
    """Runs the block with this thread in the network namespace `fd`; sockets made there stay there."""
    _setns(fd)
    try:
        yield
    finally:
        _setns(_home_netns)


def keep_alive(sock: Socket) -> None:
    """Finds out when the other end's machine has vanished. What is in this machine never does so without a word from the kernel."""
    idle_s, interval_s, probes = KEEPALIVE
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)


def _family_with_ipv6() -> socket.AddressFamily:
    """AF_INET6 where this namespace has it, else AF_INET (kernels with IPv6 switched off)."""
    return socket.AF_INET6 if Path("/proc/sys/net/ipv6").exists() else socket.AF_INET


def listen(netns_fd: int, port: int) -> socket.socket:
    """Opens a dual-stack listener on every address of the namespace; accepted sockets inherit its options.

    Raises:
        OSError: the port is taken by someone else, or a privilege is missing.
    """
    with network_namespace(netns_fd):
        sock = socket.socket(_family_with_ipv6(), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, ZTUNNEL_MARK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("", port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def accept(listener: socket.socket) -> tuple[Socket, str, int]:
    """Takes a connection: a non-blocking socket, and address and port of the client.

    Raises:
        OSError: as accept(2); BlockingIOError when there is none.
    """
    fd, address = listener._accept()  # type: ignore[attr-defined]
    sock = Socket(listener.family, socket.SOCK_STREAM, 0, fd)
    sock.setblocking(False)
    return sock, plain_address(address[0]), address[1]


def make(netns_fd: int, family: socket.AddressFamily, count: int) -> list[Socket]:
    """Makes sockets for dialling inside a namespace, with the mark of ztunnel."""
    with network_namespace(netns_fd):
        made = [Socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(count)]
    for sock in made:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, ZTUNNEL_MARK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def bind_source(sock: Socket, source: str, port: int) -> None:
    """Binds to an address that need not be this namespace's.

    Raises:
        OSError: a privilege is missing.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    # Connections to other destinations may use the same address and port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((source, port))


def connect(sock: Socket, next_hop: Endpoint) -> bool:
    """Begins to connect, or goes on. True: connected. False: the socket becomes writable when there is more to say.

    Raises:
        OSError: refused, unreachable, ...
    """
    error = sock.connect_ex(next_hop)
    if error in (0, errno.EISCONN):
        return True
    if error in (errno.EINPROGRESS, errno.EALREADY):
        return False
    raise OSError(error, os.strerror(error))


def dial_cause(number: int) -> Cause:
    """Says in the engine's words why a dial failed."""
    return _CAUSES.get(number, Cause.CONNECT_UNREACHABLE)


def unacknowledged_bytes(sock: Socket) -> int:
    """What was sent and has not arrived at the other end's kernel (tcp(7), SIOCOUTQ). A reset would cost it."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def abort(sock: Socket) -> None:
    """Closes with a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def plain_address(address: str) -> str:
    """An IPv4-mapped IPv6 address as IPv4, any other as it is (RFC 4291 section 2.5.5.2)."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def text(address: str, port: int) -> str:
    """ "address:port", IPv6 in brackets (RFC 3986 section 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def original_destination(sock: Socket, listener_port: int) -> Endpoint:
    """Where the client wanted to go.

    Capture by sk_lookup or TPROXY leaves the destination in place, so it is the socket's own address. REDIRECT rewrites it
    to the listener's port; then netfilter remembers the original.

    Raises:
        OSError: the connection was made to the listener itself.
    """
    address, port = sock.getsockname()[:2]
    if port != listener_port:
        return plain_address(address), port
    original = _before_redirect(sock, ipv6="." not in address)
    if original == (plain_address(address), port):
        raise OSError(errno.ELOOP, "the destination is the listener itself")
    return original


def _before_redirect(sock: Socket, *, ipv6: bool) -> Endpoint:
    if ipv6:
        raw = sock.getsockopt(socket.IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
    raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), int.from_bytes(raw[2:4], "big")
