"""Every way that a connection can take: both ends captured, one of them, none between; by address and by service."""

import socket
from collections import Counter

import pytest

from tests.netns.mesh.ground import Log, Mesh, Place, Talk
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, MESH, NEAR, PLAIN

# Of so many fair choices between two, all go to one with a chance of 1e-9.
REQUESTS = 30


def check_talk(talk: Talk, client: Place, server: str, family: socket.AddressFamily) -> None:
    """The server spoke first; it saw the client's own address; it answers; and it ends when the client has."""
    with talk:
        assert (talk.server, talk.seen_address) == (server, client.address(family))
        assert talk.ask(b"how are you?") == b"how are you?"
        talk.connection.shutdown(socket.SHUT_WR)
        assert talk.connection.recv(1) == b""


def expect_lines(log: Log, direction: str, client: Place, server: Place) -> None:
    """A line at the connection's open and one at its close, with both identities."""
    fields = {"direction": direction, "src_identity": client.identity, "dst_identity": server.identity}
    assert "error" not in log.expect(message="connection opened", **fields)
    closed = log.expect(message="connection closed", **fields)
    assert "error" not in closed
    assert closed["bytes_recv"] == len(b"how are you?")
    assert closed["bytes_sent"] > len(b"how are you?")


def test_captured_on_both_sides(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(MESH, server_name)
    logs = mesh.log(client.node), mesh.log(server.node)
    check_talk(mesh.talk(client, server, family), client, server_name, family)
    for log, direction in zip(logs, ("outbound", "inbound"), strict=True):
        expect_lines(log, direction, client, server)


def test_only_the_client_is_captured(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(PLAIN, server_name)
    log = mesh.log(client.node)
    check_talk(mesh.talk(client, server, family), client, server_name, family)
    line = log.expect(message="connection closed", direction="outbound", dst_workload=server.name.partition("/")[2], dst_namespace=PLAIN)
    assert line["src.identity"] == client.identity
    assert "dst.hbone_addr" not in line


def test_only_the_server_is_captured(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, server_name)
    log = mesh.log(server.node)
    check_talk(mesh.talk(client, server, family), client, server_name, family)
    line = log.expect(message="connection closed", direction="inbound", src_namespace=PLAIN, dst_identity=server.identity)
    assert "src.identity" not in line
    assert line["src.workload"] == CLIENT


def test_neither_is_captured(mesh: Mesh, server_name: str, family: socket.AddressFamily):
    client = mesh.pod(PLAIN, CLIENT)
    check_talk(mesh.talk(client, mesh.pod(PLAIN, server_name), family), client, server_name, family)


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
    with mesh.talk_to_service(client, MESH):
        line = log.expect(message="connection opened", direction="outbound", src_identity=client.identity)
    assert line["dst.service"] == "web.mesh.svc.cluster.local"


def test_pod_reaches_itself(mesh: Mesh, family: socket.AddressFamily):
    """By its own address it meets no proxy; the application sees that address."""
    pod = mesh.pod(MESH, NEAR)
    check_talk(Talk(pod.connect(pod.address(family), APP_PORT)), pod, NEAR, family)
