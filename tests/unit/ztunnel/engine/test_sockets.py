"""Addresses, and sockets on loopback; namespaces are the netns tests' business."""

import contextlib
import os
import select
import socket

import pytest

from ztunnel.engine.interface import Cause
from ztunnel.engine.python import sockets


@pytest.mark.parametrize(
    ("given", "plain"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("fd00::1", "fd00::1"), ("::ffff:a00:1", "::ffff:a00:1"), ("::1", "::1")],
)
def test_ipv4_mapped_addresses_become_ipv4(given: str, plain: str) -> None:
    assert sockets.plain_address(given) == plain


def test_text_brackets_ipv6() -> None:
    assert sockets.text("10.0.0.1", 80) == "10.0.0.1:80"
    assert sockets.text("fd00::1", 80) == "[fd00::1]:80"


def test_a_listener_takes_both_families_and_tells_the_destination() -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    listener = sockets.listen(here, 0)
    port = listener.getsockname()[1]
    try:
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port)) as client:
                select.select([listener], [], [], 10)
                accepted, peer, _ = sockets.accept(listener)
                assert peer == address
                assert not os.get_blocking(accepted.fileno())
                # Seen as by another listener, the socket's own address is where the client went.
                assert sockets.original_destination(accepted, 15001) == (address, port)
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert client.getpeername()[1] == port
                accepted.close()
    finally:
        listener.close()
        os.close(here)


def test_a_refused_connect_says_so() -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    (sock,) = sockets.make(here, socket.AF_INET, 1)
    os.close(here)
    with socket.socket() as taken, contextlib.closing(sock):
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError) as refused:
            # On loopback the reset is there before the second look.
            while not sockets.connect(sock, taken.getsockname()):
                pass
    assert sockets.dial_cause(refused.value.errno or 0) is Cause.CONNECT_REFUSED


def test_connect_goes_on_until_it_is_connected() -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    (sock,) = sockets.make(here, socket.AF_INET, 1)
    os.close(here)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.closing(sock):
        while not sockets.connect(sock, server.getsockname()):
            pass
        assert sockets.connect(sock, server.getsockname())
        assert sock.getpeername() == server.getsockname()
