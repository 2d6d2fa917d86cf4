"""Listening sockets of a process, in the namespace that it runs in."""

import errno
import socket


def listen(address: tuple[str, int], *, reuse_port: bool = False) -> socket.socket:
    """Returns a listening socket.

    Args:
        address: host and port; "::" serves IPv4 as well, and is 0.0.0.0 where the kernel has no IPv6.
        reuse_port: lets the next process listen before this one stops.
    Raises:
        OSError: the address cannot be had.
    """
    host, port = address
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, reuse_port=reuse_port, dualstack_ipv6=host == "::")
    except (OSError, ValueError) as error:
        no_ipv6 = isinstance(error, ValueError) or error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
        if host != "::" or not no_ipv6:
            raise
        return socket.create_server(("0.0.0.0", port), reuse_port=reuse_port)
