"""Peers that nobody in the mesh started: a good one, those that prove nothing, and those that ask for what is not there."""

import socket
import ssl
from collections.abc import Callable

import pytest

from tests.netns.engine.certificates import EXPIRED, Authority
from tests.netns.engine.tls import client_context
from tests.netns.mesh.ground import Log, Mesh, Place, receive, text, until
from tests.netns.mesh.hbone_client import HBONE_PORT, HboneClient
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, MESH, PLAIN

# Nobody listens there in any pod.
CLOSED_PORT = 9


@pytest.fixture
def authority(mesh: Mesh) -> Authority:
    """The mesh's own."""
    directory = mesh.lab.layout.controlplane
    return Authority.of((directory / "root-key.pem").read_bytes(), (directory / "root-cert.pem").read_bytes())


def context_of(authority: Authority, identity: str) -> ssl.SSLContext:
    return client_context(authority.root, authority.issue(identity))


def authority_of(server: Place, family: socket.AddressFamily, port: int) -> str:
    return text((server.address(family), port))


def test_hbone_from_outside_to_a_captured_server(mesh: Mesh, authority: Authority, server_name: str, family: socket.AddressFamily):
    """The application sees the peer's address, and the line the identity that it proved."""
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, server_name)
    log = mesh.log(server.node)
    with HboneClient(client, server, context_of(authority, client.identity), family) as peer:
        stream, status = peer.connect(authority_of(server, family, APP_PORT))
        assert status == 200
        expected = f"{server_name} {client.address(family)}\nhello".encode()
        assert peer.ask(stream, b"hello", len(expected)) == expected
    line = log.expect(message="connection closed", src_identity=client.identity, dst_identity=server.identity)
    assert line["direction"] == "inbound"
    assert line["src.workload"] == CLIENT


@pytest.mark.parametrize("wrong", ["another pod", "a node", "loopback", "a service"])
def test_connect_to_an_address_that_is_not_the_pods(mesh: Mesh, authority: Authority, wrong: str):
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR)
    address = {
        "another pod": mesh.pod(PLAIN, FAR).address(socket.AF_INET),
        "a node": "172.30.0.12",
        "loopback": "127.0.0.1",
        "a service": mesh.service_address(MESH, socket.AF_INET),
    }[wrong]
    log = mesh.log(server.node)
    with HboneClient(client, server, context_of(authority, client.identity), socket.AF_INET) as peer:
        assert peer.connect(f"{address}:{APP_PORT}")[1] == 400
        # The tunnel is good for what is right.
        assert peer.connect(authority_of(server, socket.AF_INET, APP_PORT))[1] == 200
    line = log.expect(message="connection failed", src_identity=client.identity)
    assert "bad authority" in line["error"]


def test_closed_port_is_503_to_a_peer(mesh: Mesh, authority: Authority):
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR)
    log = mesh.log(server.node)
    with HboneClient(client, server, context_of(authority, client.identity), socket.AF_INET) as peer:
        assert peer.connect(authority_of(server, socket.AF_INET, CLOSED_PORT))[1] == 503
    assert "connect refused" in log.expect(message="connection failed", src_identity=client.identity)["error"]


def test_closed_port_is_a_reset_for_the_client_and_a_reason_in_both_logs(mesh: Mesh, server_name: str):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(MESH, server_name)
    logs = {"outbound": mesh.log(client.node), "inbound": mesh.log(server.node)}
    with pytest.raises((ConnectionResetError, ConnectionRefusedError)), client.connect(server.addresses[0], CLOSED_PORT) as connection:
        receive(connection, 1)
    errors = {
        direction: log.expect(message="connection failed", direction=direction, src_identity=client.identity)["error"]
        for direction, log in logs.items()
    }
    assert "connect refused" in errors["inbound"]
    assert "503" in errors["outbound"] or "connect refused" in errors["outbound"]


def test_closed_port_of_a_pod_outside_is_a_reset_too(mesh: Mesh):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(PLAIN, FAR)
    log = mesh.log(client.node)
    with pytest.raises((ConnectionResetError, ConnectionRefusedError)), client.connect(server.addresses[0], CLOSED_PORT) as connection:
        receive(connection, 1)
    assert "connect refused" in log.expect(message="connection failed", direction="outbound", src_identity=client.identity)["error"]


def _tls_1_2(authority: Authority, identity: str) -> ssl.SSLContext:
    context = context_of(authority, identity)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


FOREIGN = "spiffe://elsewhere.example/ns/plain/sa/client"
WITHOUT_PROOF: dict[str, Callable[[Authority, str], ssl.SSLContext]] = {
    "no certificate": lambda authority, identity: client_context(authority.root, None),
    "expired": lambda authority, identity: client_context(authority.root, authority.issue(identity, validity=EXPIRED)),
    "foreign root": lambda authority, identity: client_context(authority.root, Authority().issue(FOREIGN)),
    "TLS 1.2": _tls_1_2,
}


@pytest.mark.parametrize("kind", WITHOUT_PROOF)
def test_peer_that_proves_nothing(mesh: Mesh, authority: Authority, kind: str):
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR)
    context = WITHOUT_PROOF[kind](authority, client.identity)
    with Refusal(mesh, client, server), pytest.raises(OSError), HboneClient(client, server, context, socket.AF_INET) as peer:
        peer.connect(authority_of(server, socket.AF_INET, APP_PORT))


def test_plain_http_to_the_tunnels_port(mesh: Mesh):
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR)
    with Refusal(mesh, client, server), client.connect(server.addresses[0], HBONE_PORT) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: far\r\n\r\n")
        with pytest.raises(ConnectionError):
            while receive(connection, 1):
                pass


class Refusal:
    """What happens inside of this is refused before a decision, counted once, and told in one line."""

    def __init__(self, mesh: Mesh, client: Place, server: Place) -> None:
        self._mesh, self._client, self._server = mesh, client, server
        self._log: Log = mesh.log(server.node)
        self._before = self._counted()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            until(lambda: self._counted() == self._before + 1, "one more is counted")
            line = self._log.expect(message="connection refused")
            assert len(self._log.find(message="connection refused")) == 1
            assert line["src.addr"].startswith(f"{self._client.addresses[0]}:")
            assert (line["dst.pod"], line["listener"]) == (self._server.name, "inbound_hbone")
            assert line["error"].startswith("tls failure: ")
            assert not self._log.find(message="connection opened")

    def _counted(self) -> float:
        return self._mesh.metric(self._server.node, "ztunnel_refused_total", listener="inbound_hbone", cause="tls_failure")


def test_foreign_trust_domain_under_our_own_root(mesh: Mesh, authority: Authority):
    """It has a certificate that we signed, and is none of ours: 401, counted, and one line."""
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR)
    log, before = mesh.log(server.node), denied(mesh, server)
    with HboneClient(client, server, context_of(authority, FOREIGN), socket.AF_INET) as peer:
        assert peer.connect(authority_of(server, socket.AF_INET, APP_PORT))[1] == 401
    until(lambda: denied(mesh, server) == before + 1, "one more is counted")
    assert "denied" in log.expect(message="connection failed")["error"]
    assert len(log.find(message="connection failed")) == 1


def denied(mesh: Mesh, server: Place) -> float:
    return mesh.metric(server.node, "istio_tcp_connections_closed_total", response_flags="DENY")
