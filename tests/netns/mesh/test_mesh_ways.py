"""Every way that a connection can take: both ends captured, one of them, none between; by address and by service."""

import itertools
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tests.netns.mesh.ground import Log, Mesh, Place, Talk, text
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, MESH, NEAR, PLAIN

# Of so many fair choices between two, all go to one with a chance of 1e-9.
REQUESTS = 30


# No two questions have the same length, so that the count of bytes tells their lines apart. The client's port would not do: where
# conntrack remembers it with another destination, REDIRECT gives the connection another.
_lengths = itertools.count(1000)


@dataclass(frozen=True, slots=True)
class Asked:
    """A connection that has been: the client's address, and how much it sent and heard."""

    address: str
    sent_bytes: int
    heard_bytes: int


def ask(talk: Talk, client: Place, server: str, family: socket.AddressFamily) -> Asked:
    """The server spoke first; it saw the client's own address; it answers; and it ends when the client has."""
    question = b"?" * next(_lengths)
    with talk:
        assert (talk.server, talk.seen_address) == (server, client.address(family))
        assert talk.ask(question) == question
        talk.connection.shutdown(socket.SHUT_WR)
        assert talk.connection.recv(1) == b""
    return Asked(talk.seen_address, len(question), len(f"{server} {talk.seen_address}\n") + len(question))


def expect_lines(log: Log, asked: Asked, **fields: str) -> dict[str, Any]:
    """A line at the connection's open and one at its close; returns that."""
    assert "error" not in log.expect(message="connection opened", **fields)
    closed = log.expect(message="connection closed", bytes_recv=asked.sent_bytes, bytes_sent=asked.heard_bytes, **fields)
    assert "error" not in closed
    assert "duration" in closed
    return closed


def comes_from(line: dict[str, Any], asked: Asked) -> bool:
    return bool(line["src.addr"].rpartition(":")[0].strip("[]") == asked.address)


def test_captured_on_both_sides(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    """The same two lines on each side, whether there is a tunnel or both are on one node."""
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(MESH, server_name)
    outbound, inbound = mesh.log(client.node), mesh.log(server.node)
    asked = ask(mesh.talk(client, server, family), client, server_name, family)
    identities = {"src_identity": client.identity, "dst_identity": server.identity}
    assert comes_from(expect_lines(outbound, asked, direction="outbound", **identities), asked)
    line = expect_lines(inbound, asked, direction="inbound", **identities)
    assert line["dst.addr"] == text((server.address(family), APP_PORT))
    assert line["dst.workload"] == server_name


def test_only_the_client_is_captured(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(PLAIN, server_name)
    log = mesh.log(client.node)
    asked = ask(mesh.talk(client, server, family), client, server_name, family)
    line = expect_lines(log, asked, direction="outbound", src_identity=client.identity)
    assert comes_from(line, asked)
    assert (line["dst.workload"], line["dst.namespace"]) == (server_name, PLAIN)
    assert line["dst.addr"] == text((server.address(family), APP_PORT))
    assert "dst.hbone_addr" not in line


def test_only_the_server_is_captured(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, server_name)
    log = mesh.log(server.node)
    asked = ask(mesh.talk(client, server, family), client, server_name, family)
    line = expect_lines(log, asked, direction="inbound", dst_identity=server.identity)
    assert comes_from(line, asked)
    assert (line["src.workload"], line["src.namespace"]) == (CLIENT, PLAIN)
    assert not {"src.identity", "dst.hbone_addr"} & line.keys()


def test_neither_is_captured(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client = mesh.pod(PLAIN, CLIENT)
    ask(mesh.talk(client, mesh.pod(PLAIN, server_name), family), client, server_name, family)


@pytest.mark.parametrize("backends", [MESH, PLAIN])
@pytest.mark.parametrize("asking", [MESH, PLAIN])
def test_service_is_balanced_over_its_pods(mesh: Mesh, asking: str, backends: str, family: socket.AddressFamily):
    client = mesh.pod(asking, CLIENT)
    answers: Counter[str] = Counter()
    for _ in range(REQUESTS):
        with mesh.talk_to_service(client, backends, family) as talk:
            assert talk.seen_address == client.address(family)
            assert talk.ask(b"who?") == b"who?"
            answers[talk.server] += 1
    assert set(answers) == {NEAR, FAR}


def test_line_of_a_service_names_it(mesh: Mesh):
    client = mesh.pod(MESH, CLIENT)
    log = mesh.log(client.node)
    talk = mesh.talk_to_service(client, MESH)
    asked = ask(talk, client, talk.server, socket.AF_INET)
    line = expect_lines(log, asked, direction="outbound", src_identity=client.identity)
    assert (line["dst.service"], line["dst.workload"]) == ("web.mesh.svc.cluster.local", talk.server)


def test_pod_reaches_itself(mesh: Mesh, family: socket.AddressFamily):
    """By its own address it meets no proxy; the application sees that address."""
    pod = mesh.pod(MESH, NEAR)
    ask(Talk(pod.connect(pod.address(family), APP_PORT)), pod, NEAR, family)
