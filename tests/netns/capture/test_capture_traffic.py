"""Traffic of a captured pod: what reaches ztunnel, how it looks there, and what is left alone."""

import socket
import struct
import threading

import pytest

from daemonset.capture.items import Mode
from tests.netns.capture.ground import Ground, Namespace, tcp
from tests.netns.capture.ztunnel import Taken, Ztunnel


def echo_server(place: Namespace, family: socket.AddressFamily, address: str | None = None) -> tuple[socket.socket, list[tuple]]:
    """Listens in the namespace; answers each connection with what it says, once; keeps the clients' addresses."""
    seen: list[tuple] = []

    def make() -> socket.socket:
        listener = tcp(family)
        listener.bind((address or place.address(family), 0))
        listener.listen(512)
        return listener

    listener = place.run(make)
    listener.settimeout(None)

    def serve() -> None:
        while True:
            try:
                connection, source = listener.accept()
            except OSError:
                return
            seen.append(source[:2])
            with connection:
                connection.settimeout(5)
                connection.sendall(connection.recv(1000))

    threading.Thread(target=serve, daemon=True).start()
    return listener, seen


def ask(place: Namespace, family: socket.AddressFamily, target: tuple[str, int], **options) -> tuple[bytes, tuple]:
    """Connects from the namespace, says hello, and returns the answer and the connection's own address."""

    def make() -> socket.socket:
        sock = tcp(family, **options)
        sock.connect(target)
        return sock

    with place.run(make) as sock:
        sock.sendall(b"hello")
        return sock.recv(1000), sock.getsockname()[:2]


def ping(family: socket.AddressFamily, address: str) -> bool:
    """Sends one ICMP echo request and waits for its reply (RFC 792, RFC 4443; of ICMPv6 the kernel makes the checksum)."""
    request, reply, protocol = (8, 0, socket.IPPROTO_ICMP) if family == socket.AF_INET else (128, 129, socket.IPPROTO_ICMPV6)
    checksum = 0xFFFF - (request << 8) - 1 if family == socket.AF_INET else 0
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(5)
        sock.sendto(struct.pack("!BBHHH", request, 0, checksum, 0, 1), (address, 0))
        while True:
            data, (source, *_) = sock.recvfrom(100)
            if source == address and data[20 if family == socket.AF_INET else 0] == reply:
                return True


def test_outgoing_connection_reaches_ztunnel(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    listener, seen = echo_server(ground.peer, family)
    with listener:
        target = listener.getsockname()[:2]
        answer, source = ask(ground.pod, family, target)
    assert answer == b"hello"
    assert source[0] == ground.pod.address(family)
    assert captured.taken == [Taken(15001, source, target)]
    assert [address for address, _ in seen] == [ground.pod.address(family)]


def test_incoming_connection_reaches_ztunnel_and_the_application_sees_the_client(
    ground: Ground, captured: Ztunnel, family: socket.AddressFamily
) -> None:
    listener, seen = echo_server(ground.pod, family)
    with listener:
        target = listener.getsockname()[:2]
        answer, source = ask(ground.peer, family, target)
    assert answer == b"hello"
    assert captured.taken == [Taken(15006, source, target)]
    assert [address for address, _ in seen] == [ground.peer.address(family)]


def test_hbone_port_reaches_its_own_listener(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    target = (ground.pod.address(family), 15008)
    with ground.peer.run(lambda: tcp(family)) as sock:
        sock.connect(target)
        assert captured.wait_taken(1) == [Taken(15008, sock.getsockname()[:2], target)]


def test_unknown_port_of_the_pod_is_reset(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    with pytest.raises(ConnectionResetError):
        answer, _ = ask(ground.peer, family, (ground.pod.address(family), 9))
        if not answer:
            raise ConnectionResetError
    assert [taken.listener for taken in captured.wait_taken(1)] == [15006]


def test_pod_to_itself_is_untouched(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    loopback = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    for address in (loopback, ground.pod.address(family)):
        listener, seen = echo_server(ground.pod, family, address)
        with listener:
            assert ask(ground.pod, family, listener.getsockname()[:2])[0] == b"hello"
        assert [source for source, _ in seen] == [address]
    assert captured.taken == []


def test_socket_bound_to_a_device_does_not_get_around_ztunnel(
    ground: Ground, mode: Mode, captured: Ztunnel, family: socket.AddressFamily
) -> None:
    """By iptables it cannot connect at all: REDIRECT leads to lo, where the socket may not go."""
    listener, seen = echo_server(ground.peer, family)
    with listener, ground.pod.run(lambda: tcp(family)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        if mode is Mode.IPTABLES:
            sock.settimeout(1)
            with pytest.raises(OSError):
                sock.connect(listener.getsockname()[:2])
            assert seen == []
            return
        sock.connect(listener.getsockname()[:2])
        sock.sendall(b"bound")
        assert sock.recv(100) == b"bound"
    assert [taken.listener for taken in captured.taken] == [15001]


def test_ztunnel_own_connection_leaves(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    listener, seen = echo_server(ground.peer, family)
    with listener:
        answer, source = ask(ground.pod, family, listener.getsockname()[:2], mark=0x539)
    assert answer == b"hello"
    assert seen == [source]
    assert captured.taken == []


def test_node_probe_is_untouched(ground: Ground, captured: Ztunnel) -> None:
    ground.peer.shell("ip addr add 169.254.7.127/32 dev lo")
    ground.pod.shell("ip route add 169.254.7.127 via 10.98.0.2")
    listener, seen = echo_server(ground.pod, socket.AF_INET)

    def probe() -> bytes:
        with tcp(socket.AF_INET) as sock:
            sock.bind(("169.254.7.127", 0))
            sock.connect(listener.getsockname())
            sock.sendall(b"alive?")
            return sock.recv(100)

    with listener:
        assert ground.peer.run(probe) == b"alive?"
    assert [address for address, _ in seen] == ["169.254.7.127"]
    assert captured.taken == []


def test_udp_and_icmp_are_untouched(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    server = ground.peer.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
    client = ground.pod.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
    with server, client:
        server.settimeout(5)
        client.settimeout(5)
        server.bind((ground.peer.address(family), 0))
        client.sendto(b"ping", server.getsockname()[:2])
        data, source = server.recvfrom(100)
        server.sendto(data, source)
        assert client.recv(100) == b"ping"
    assert source[0] == ground.pod.address(family)
    for place, target in ((ground.pod, ground.peer), (ground.peer, ground.pod)):
        assert place.run(lambda target=target: ping(family, target.address(family)))
    assert captured.taken == []


def test_without_listeners_nothing_passes(ground: Ground, captured: Ztunnel, family: socket.AddressFamily) -> None:
    inside, seen_inside = echo_server(ground.pod, family)
    outside, seen_outside = echo_server(ground.peer, family)
    captured.close_listeners()
    with inside, outside:
        for place, target in ((ground.pod, outside), (ground.peer, inside)):
            with place.run(lambda: tcp(family)) as sock:
                sock.settimeout(1)
                with pytest.raises(OSError):
                    sock.connect(target.getsockname()[:2])
    assert (seen_inside, seen_outside) == ([], [])
