"""What becomes of bytes, of ends and of resets on every way; the test holds both ends of each connection."""

import os
import select
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.netns.mesh.ground import PATIENCE_S, Mesh, Place, receive, text, until
from tests.netns.mesh.manifests import CLIENT, FAR, MESH, NEAR, PLAIN

VOLUME_BYTES = 2**30
# Not a power of two: what is lost or swapped in whole records or windows changes the checksum.
BLOCK_BYTES = 1_000_003
CONNECTIONS = 1000
STALLED = 8
# What a stalled connection may take: the buffers of four sockets and a stream's window, with room.
MOST_STALLED_BYTES = 64 * 2**20
# Nothing moved for so long on a connection that nobody reads: it is full.
STALL_S = 0.5
ANSWER = os.urandom(1_000_000)


@dataclass(frozen=True, slots=True)
class Way:
    client: Place
    server: Place

    def open(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new connection: the client's and the server's."""
        with self.server.listen() as listener:
            client = self.client.connect(*listener.getsockname())
            server, source = listener.accept()
        server.settimeout(PATIENCE_S)
        assert source[0] == self.client.address(socket.AF_INET)
        return client, server


@pytest.fixture(params=["far", "near", "client only", "server only"])
def way(request: pytest.FixtureRequest, mesh: Mesh) -> Way:
    match request.param:
        case "client only":
            return Way(mesh.pod(MESH, CLIENT), mesh.pod(PLAIN, FAR))
        case "server only":
            return Way(mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR))
        case name:
            return Way(mesh.pod(MESH, CLIENT), mesh.pod(MESH, name))


def read_to_the_end(connected: socket.socket) -> bytes:
    parts = []
    while part := connected.recv(2**16):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("first", ["client", "server"])
def test_one_side_ends_and_still_hears_the_other(way: Way, first: str):
    client, server = way.open()
    early, late = (client, server) if first == "client" else (server, client)
    with client, server:
        early.sendall(b"that is all")
        early.shutdown(socket.SHUT_WR)
        assert read_to_the_end(late) == b"that is all"
        late.sendall(ANSWER[:10])
        assert receive(early, 10) == ANSWER[:10]
        sender = threading.Thread(target=late.sendall, args=(ANSWER[10:],))
        sender.start()
        assert receive(early, len(ANSWER) - 10) == ANSWER[10:]
        sender.join()
        late.shutdown(socket.SHUT_WR)
        assert early.recv(1) == b""


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_arrives_as_a_reset(mesh: Mesh, way: Way, first: str):
    logs = mesh.log("node1"), mesh.log("node2")
    client, server = way.open()
    target = text(server.getsockname())
    one, other = (client, server) if first == "client" else (server, client)
    with client, server:
        one.sendall(b"so far")
        assert receive(other, 6) == b"so far"
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)

    def ends() -> list[str]:
        closed = [end for log in logs for end in log.find(message="connection closed")]
        return [end["error"] for end in closed if target in (end["dst.addr"], end.get("dst.hbone_addr"))]

    captured = [place for place in (way.client, way.server) if place.name.startswith(MESH)]
    until(lambda: len(ends()) == len(captured), "a line for each captured end")
    assert all(f"{first} reset" in end for end in ends())


class Transfer:
    """Random bytes from one socket to another, with the checksum at both ends."""

    def __init__(self, source: socket.socket, sink: socket.socket, count: int) -> None:
        self._source, self._sink, self._count = source, sink, count
        self._block = memoryview(os.urandom(BLOCK_BYTES))
        self.received_bytes = 0
        self.sums = [0, 0]

    @property
    def work(self) -> tuple[Callable[[], None], ...]:
        return self._send, self._receive

    def _send(self) -> None:
        left = self._count
        while left:
            block = self._block[: min(left, BLOCK_BYTES)]
            self._source.sendall(block)
            self.sums[0] = zlib.crc32(block, self.sums[0])
            left -= len(block)
        self._source.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        buffer = bytearray(2**20)
        while count := self._sink.recv_into(buffer):
            self.sums[1] = zlib.crc32(memoryview(buffer)[:count], self.sums[1])
            self.received_bytes += count


def run_all(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("server_name", [FAR, NEAR])
def test_a_gibibyte_in_both_directions_at_once(mesh: Mesh, server_name: str):
    client, server = Way(mesh.pod(MESH, CLIENT), mesh.pod(MESH, server_name)).open()
    with client, server:
        transfers = Transfer(client, server, VOLUME_BYTES), Transfer(server, client, VOLUME_BYTES)
        run_all(*transfers[0].work, *transfers[1].work)
    for transfer in transfers:
        assert transfer.received_bytes == VOLUME_BYTES
        assert transfer.sums[0] == transfer.sums[1]


def test_a_thousand_connections_at_a_time(mesh: Mesh, server_name: str):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(MESH, server_name)
    talks = [mesh.talk(client, server) for _ in range(CONNECTIONS)]
    try:
        assert mesh.metric(client.node, "ztunnel_connections") >= CONNECTIONS
        for number, talk in enumerate(talks):
            talk.connection.sendall(f"{number:8}".encode())
        assert [int(receive(talk.connection, 8)) for talk in talks] == list(range(CONNECTIONS))
    finally:
        for talk in talks:
            talk.connection.close()


def fill(connected: socket.socket) -> int:
    """Sends until nothing more goes; returns how much went."""
    sent = 0
    connected.setblocking(False)
    while select.select([], [connected], [], STALL_S)[1]:
        try:
            sent += connected.send(bytes(2**18))
        except BlockingIOError:
            continue
        assert sent < MOST_STALLED_BYTES, "somebody keeps what nobody reads"
    connected.settimeout(PATIENCE_S)
    return sent


@pytest.mark.parametrize("writer", ["client", "server"])
def test_a_reader_that_stops_does_not_stall_the_others_of_its_tunnel(mesh: Mesh, writer: str):
    way = Way(mesh.pod(MESH, CLIENT), mesh.pod(MESH, FAR))
    with mesh.talk(way.client, way.server):
        tunnels = mesh.metric(way.client.node, "ztunnel_tunnels")
        stalled = [way.open() for _ in range(STALLED)]
        pairs = [(client, server) if writer == "client" else (server, client) for client, server in stalled]
        counts = [fill(source) for source, _ in pairs]
        assert all(counts)
        check_that_others_go_on(mesh, way)
        # A tunnel of its own would have made it easy.
        assert mesh.metric(way.client.node, "ztunnel_tunnels") == tunnels
        for (source, sink), count in zip(pairs, counts, strict=True):
            source.shutdown(socket.SHUT_WR)
            assert len(read_to_the_end(sink)) == count
            source.close()
            sink.close()


def check_that_others_go_on(mesh: Mesh, way: Way) -> None:
    with mesh.talk(way.client, way.server) as talk:
        for number in range(100):
            assert int(talk.ask(f"{number:4}".encode())) == number
    client, server = way.open()
    with client, server:
        for source, sink in ((client, server), (server, client)):
            transfer = Transfer(source, sink, 32 * 2**20)
            run_all(*transfer.work)
            assert transfer.received_bytes == 32 * 2**20
            assert transfer.sums[0] == transfer.sums[1]
