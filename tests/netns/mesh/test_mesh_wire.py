"""What passes between the nodes: TLS alone for captured TCP, and everything else as it was."""

import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.addresses import node_addresses
from tests.netns.mesh.ground import FAMILIES, PATIENCE_S, Mesh, Place, text, until
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, MESH, NEAR, PLAIN
from tests.netns.mesh.wire import Packet, Wire

HBONE_PORT = 15008
# TLS records, as all of TLS 1.3 writes them: handshake and application data. Source: RFC 8446, section 5.1.
TLS_RECORDS = (b"\x16\x03\x01", b"\x16\x03\x03", b"\x17\x03\x03")
# Long enough to be in several segments, also alone.
REPEATED = 4000


def marker() -> bytes:
    return f"marker-{secrets.token_hex(12)}.".encode()


@pytest.fixture
def wires(mesh: Mesh) -> Iterator[list[Wire]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Wire(mesh.node_netns(node))) for node in ("node1", "node2")]


def tcp_of(wire: Wire, *places: Place) -> list[Packet]:
    addresses = {address for place in places for address in place.addresses}
    return wire.packets(lambda packet: packet.protocol == socket.IPPROTO_TCP and packet.is_of(addresses))


def starts_tls_record(packet: Packet) -> bool:
    return packet.payload[(packet.payload[12] >> 4) * 4 :].startswith(TLS_RECORDS)


def test_without_the_mesh_the_wire_can_be_read(mesh: Mesh, wires: list[Wire], family: socket.AddressFamily):
    """The tests below would not mean much otherwise."""
    secret = marker()
    with mesh.talk(mesh.pod(PLAIN, CLIENT), mesh.pod(PLAIN, FAR), family) as talk:
        assert talk.ask(secret) == secret
    assert all(wire.shows(secret) for wire in wires)


def test_the_wire_shows_tls_alone(mesh: Mesh, wires: list[Wire]):
    """From the first SYN to the last FIN, in both families, to the pod and to the service."""
    client, server, secret = mesh.pod(MESH, CLIENT), mesh.pod(MESH, FAR), marker()
    for family in FAMILIES:
        with mesh.talk(client, server, family) as talk:
            assert talk.ask(secret * REPEATED) == secret * REPEATED
        answered = ""
        while answered != FAR:
            with mesh.talk_to_service(client, MESH, family) as talk:
                assert talk.ask(secret) == secret
                answered = talk.server
    for wire in wires:
        assert not wire.shows(secret)
        assert not wire.shows(f"{FAR} {client.addresses[0]}".encode())
        packets = tcp_of(wire, client, server)
        assert {HBONE_PORT in packet.ports for packet in packets} == {True}
        assert sum(map(starts_tls_record, packets)) > len(FAMILIES)
        assert sum(len(packet.payload) for packet in packets) > 2 * len(FAMILIES) * REPEATED * len(secret)


def test_nothing_leaves_the_node_for_a_pod_beside(mesh: Mesh, wires: list[Wire]):
    client, server, secret = mesh.pod(MESH, CLIENT), mesh.pod(MESH, NEAR), marker()
    with mesh.talk(client, server) as talk:
        assert talk.ask(secret) == secret
    for wire in wires:
        assert not wire.shows(secret)
        addresses = set(server.addresses)
        assert not wire.packets(lambda packet, addresses=addresses: packet.is_of(addresses))


def test_outside_the_mesh_tcp_passes_through_untouched(mesh: Mesh, wires: list[Wire], family: socket.AddressFamily):
    client, secret = mesh.pod(MESH, CLIENT), marker()
    node = Place("node2", "node2", mesh.node_netns("node2"), node_addresses("node2"))
    log = mesh.log(client.node)
    with node.listen(family) as listener:
        port = listener.getsockname()[1]
        with client.connect(node.address(family), port) as connected:
            accepted, source = listener.accept()
            with accepted:
                assert source[0] == client.address(family)
                accepted.sendall(secret)
                assert connected.recv(1000) == secret
    assert all(wire.shows(secret) for wire in wires)
    line = log.expect(
        message="connection closed", direction="outbound", src_identity=client.identity, dst_addr=text((node.address(family), port))
    )
    assert not {"dst.workload", "dst.identity", "dst.hbone_addr", "error"} & line.keys()


@pytest.mark.parametrize("namespaces", [(MESH, MESH), (MESH, PLAIN), (PLAIN, MESH)], ids="-".join)
def test_udp_is_untouched(mesh: Mesh, wires: list[Wire], namespaces: tuple[str, str], family: socket.AddressFamily):
    client, server = mesh.pod(namespaces[0], CLIENT), mesh.pod(namespaces[1], FAR)
    secret = marker()
    with server.open(family, socket.SOCK_DGRAM) as there, client.open(family, socket.SOCK_DGRAM) as here:
        # The very port on which the application has TCP.
        there.bind((server.address(family), APP_PORT))
        here.sendto(secret, (server.address(family), APP_PORT))
        asked, source = there.recvfrom(1000)
        there.sendto(asked, source)
        answer, answering = here.recvfrom(1000)
    assert (asked, answer) == (secret, secret)
    assert (source[0], answering[0]) == (client.address(family), server.address(family))
    for wire in wires:
        seen = wire.packets(lambda packet: packet.protocol == socket.IPPROTO_UDP and secret in packet.payload)
        assert [packet.source for packet in seen] == [client.address(family), server.address(family)]


@pytest.mark.parametrize("namespaces", [(MESH, MESH), (MESH, PLAIN), (PLAIN, MESH)], ids="-".join)
def test_icmp_is_untouched(mesh: Mesh, wires: list[Wire], namespaces: tuple[str, str], family: socket.AddressFamily):
    client, server = mesh.pod(namespaces[0], CLIENT), mesh.pod(namespaces[1], FAR)
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    secret = marker()
    with client.open(family, socket.SOCK_RAW, protocol) as ping:
        ping.sendto(echo_request(family, secret), (server.address(family), 0))
        ping.settimeout(PATIENCE_S)
        until(lambda: secret in ping.recv(1000), "an echo reply")
    for wire in wires:
        seen = wire.packets(lambda packet: packet.protocol == protocol and secret in packet.payload)
        assert [packet.source for packet in seen] == [client.address(family), server.address(family)]


def echo_request(family: socket.AddressFamily, data: bytes) -> bytes:
    """Source: RFC 792, RFC 4443 (where the kernel fills the checksum in)."""
    kind = 8 if family == socket.AF_INET else 128
    data += bytes(len(data) % 2)
    words = struct.unpack(f"!{4 + len(data) // 2}H", struct.pack("!BBHHH", kind, 0, 0, 1, 1) + data)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", kind, 0, ~(total + (total >> 16)) & 0xFFFF, 1, 1) + data
