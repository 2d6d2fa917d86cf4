"""Envoy as HBONE client against our inbound, and as HBONE server behind our outbound.

On our side everything is real: ztunnel as a process, its capture by the agent, certificates and workloads from the control plane.
"""

import contextlib
import hashlib
import os
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import yaml

from bench import envoy
from tests.interop.envoy_ground import (
    BUYER,
    FOREIGN,
    IMPOSTOR_IP,
    OTHER,
    PEER_IP,
    SELLER,
    SUSPICIOUS_IP,
    EnvoyGround,
    connect,
    listen,
)
from tests.netns.engine.certificates import serial_number_of
from tests.netns.ztunnel.ground import PATIENCE_S, POD_IP

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

APP_PORT, CLOSED_PORT = 8080, 8081
# On loopback of Envoy's pod: each leads somewhere.
TO_APP, TO_CLOSED, TO_FOREIGN_ADDRESS, TO_STRANGE_IDENTITY, FROM_ABROAD, REVOKED = range(9001, 9007)
MIB = 1024 * 1024
STREAMS = 200
SLOW_BYTES = 4096
# What a peer may send before it has read our SETTINGS (RFC 9113 section 6.9.2).
ONE_WINDOW = 65_535
ANSWER_HEADERS = "envoy.tcp_proxy.propagate_response_headers"


@dataclass(frozen=True, slots=True)
class Way:
    """Where the client connects, and where the application listens; `direction` in our log."""

    client: str
    target: tuple[str, int]
    server: str
    application: tuple[str, int]
    direction: str

    def connect(self) -> socket.socket:
        return connect(self.client, self.target)

    def listen(self) -> socket.socket:
        return listen(self.server, self.application)

    @contextlib.contextmanager
    def pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Both ends of a connection: the client's and the application's."""
        with self.listen() as listener, self.connect() as client:
            server, _ = listener.accept()
            server.settimeout(PATIENCE_S)
            with server:
                yield client, server


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyGround]:
    ground = EnvoyGround(tmp_path_factory.mktemp("envoy"))
    try:
        ground.lay()
        ground.manifests()
        ground.start_mesh()
        yield ground
    finally:
        ground.clear()


@pytest.fixture(scope="module")
def envoy_client(ground: EnvoyGround) -> None:
    """Carries what comes to the ports on loopback to the captured pod's port 15008."""
    authorities = {TO_APP: f"{POD_IP}:{APP_PORT}", TO_CLOSED: f"{POD_IP}:{CLOSED_PORT}", TO_FOREIGN_ADDRESS: "10.9.0.77:80"}
    configuration = envoy.client(f"{POD_IP}:15008", authorities, ground.files("client", ground.certificate(SELLER)), BUYER)
    for listener in configuration["static_resources"]["listeners"]:
        log_answers(listener["filter_chains"][0]["filters"][0]["typed_config"])
    ground.start_envoy("client", configuration, ("127.0.0.1", TO_APP))


@pytest.fixture(scope="module")
def envoy_server(ground: EnvoyGround) -> None:
    """Takes tunnels on its pod's port 15008, and connects to the application beside it."""
    applications = [f"{PEER_IP}:{APP_PORT}", f"{PEER_IP}:{CLOSED_PORT}"]
    configuration = envoy.server(f"{PEER_IP}:15008", applications, ground.files("server", ground.certificate(SELLER)), BUYER)
    ground.start_envoy("server", configuration, (PEER_IP, 15008))


def log_answers(tcp_proxy: dict[str, object]) -> None:
    """Makes Envoy's client say on standard output how each CONNECT was answered."""
    file_log = envoy.TYPE + "extensions.access_loggers.stream.v3.StdoutAccessLog"
    text = f"%UPSTREAM_REMOTE_ADDRESS% %RESPONSE_FLAGS% %FILTER_STATE({ANSWER_HEADERS})%\n"
    log_format = {"text_format_source": {"inline_string": text}}
    tcp_proxy["access_log"] = [{"name": "stdout", "typed_config": {"@type": file_log, "log_format": log_format}}]
    tunnel = tcp_proxy["tunneling_config"]
    assert isinstance(tunnel, dict)
    tunnel["propagate_response_headers"] = True


@pytest.fixture(params=["envoy opens", "envoy accepts"])
def way(request: pytest.FixtureRequest, ground: EnvoyGround) -> Way:
    if request.param == "envoy opens":
        request.getfixturevalue("envoy_client")
        return Way(ground.peer, ("127.0.0.1", TO_APP), ground.pod, (POD_IP, APP_PORT), "inbound")
    request.getfixturevalue("envoy_server")
    return Way(ground.pod, (PEER_IP, APP_PORT), ground.peer, (PEER_IP, APP_PORT), "outbound")


def receive(connected: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connected.recv(count - len(data))
        assert part, f"ended after {len(data)} of {count} bytes"
        data += part
    return bytes(data)


def checksum_of_all(connected: socket.socket) -> str:
    """To the end of what the other side sends."""
    checksum = hashlib.sha256()
    while part := connected.recv(MIB):
        checksum.update(part)
    return checksum.hexdigest()


def body(seed: int) -> bytes:
    return random.Random(seed).randbytes(16 * MIB)


def expect_gone(client: socket.socket) -> None:
    """Nothing comes but the end, in order or not: Envoy and ztunnel differ in that."""
    with client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""


def access_lines(ground: EnvoyGround, event: str, direction: str) -> list[str]:
    return [line for line in ground.text("ztunnel.log").splitlines() if f"\t{event}\t" in line and f"direction={direction}" in line]


def failures(ground: EnvoyGround, destination: str, error: str, direction: str = "outbound") -> list[str]:
    return [line for line in access_lines(ground, "connection failed", direction) if destination in line and f'error="{error}' in line]


def test_question_and_answer(ground: EnvoyGround, way: Way) -> None:
    with way.pair() as (client, server):
        client.sendall(b"question")
        assert receive(server, 8) == b"question"
        server.sendall(b"answer")
        assert receive(client, 6) == b"answer"
        ground.until(lambda: access_lines(ground, "connection opened", way.direction))
    line = access_lines(ground, "connection opened", way.direction)[-1]
    source, destination = (BUYER, SELLER) if way.direction == "outbound" else (SELLER, BUYER)
    assert f"src.identity={source}" in line
    assert f"dst.identity={destination}" in line


def test_server_speaks_first(way: Way) -> None:
    with way.pair() as (client, server):
        server.sendall(b"welcome")
        assert receive(client, 7) == b"welcome"


def test_16_mib_both_ways_at_once(way: Way) -> None:
    up, down = body(1), body(2)
    with way.pair() as (client, server), ThreadPoolExecutor() as threads:
        sending = threads.submit(client.sendall, up), threads.submit(server.sendall, down)
        came_up = threads.submit(receive, server, len(up))
        assert hashlib.sha256(receive(client, len(down))).digest() == hashlib.sha256(down).digest()
        assert hashlib.sha256(came_up.result()).digest() == hashlib.sha256(up).digest()
        for one in sending:
            one.result()


def test_client_ends_first(way: Way) -> None:
    """A half-close: the answer comes after the question's end."""
    question, answer = body(3), body(4)
    with way.pair() as (client, server), ThreadPoolExecutor() as threads:
        sending = threads.submit(lambda: (client.sendall(question), client.shutdown(socket.SHUT_WR)))
        assert checksum_of_all(server) == hashlib.sha256(question).hexdigest()
        sending.result()
        threads.submit(lambda: (server.sendall(answer), server.close()))
        assert checksum_of_all(client) == hashlib.sha256(answer).hexdigest()


def test_server_closes_after_its_answer(way: Way) -> None:
    """As HTTP/1.0 does it: the client has not ended, and must get every byte before the end.

    Envoy drops what is beyond the windows of the moment when its application closes, against another Envoy too: so no more here.
    """
    answer = body(5)[:ONE_WINDOW]
    with way.pair() as (client, server):
        client.sendall(b"GET /")
        assert receive(server, 5) == b"GET /"
        server.sendall(answer)
        server.close()
        assert checksum_of_all(client) == hashlib.sha256(answer).hexdigest()


def test_captured_server_closes_after_a_long_answer(ground: EnvoyGround, envoy_client: None) -> None:
    """Ours drops nothing, however small the pieces that Envoy's client reads."""
    answer = body(6)
    way = Way(ground.peer, ("127.0.0.1", TO_APP), ground.pod, (POD_IP, APP_PORT), "inbound")
    with way.pair() as (client, server), ThreadPoolExecutor() as threads:
        client.sendall(b"GET /")
        assert receive(server, 5) == b"GET /"
        closing = threads.submit(lambda: (server.sendall(answer), server.close()))
        checksum = hashlib.sha256(receive(client, 1))
        while part := client.recv(SLOW_BYTES):
            checksum.update(part)
        closing.result()
        assert checksum.hexdigest() == hashlib.sha256(answer).hexdigest()


def test_200_streams_at_a_time(way: Way) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(way.listen())
        clients = [stack.enter_context(way.connect()) for _ in range(STREAMS)]
        servers = [stack.enter_context(listener.accept()[0]) for _ in range(STREAMS)]
        questions = [f"{number:06}".encode() * 1000 for number in range(STREAMS)]
        for client, question in zip(clients, questions, strict=True):
            client.sendall(question)
        came = set()
        for server in servers:
            server.settimeout(PATIENCE_S)
            came.add(question := receive(server, 6000))
            server.sendall(question[::-1])
        assert came == set(questions)
        for client, question in zip(clients, questions, strict=True):
            assert receive(client, 6000) == question[::-1]


def test_reset_of_the_application(way: Way) -> None:
    with way.pair() as (client, server):
        client.sendall(b"?")
        receive(server, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        expect_gone(client)


def test_envoy_is_told_503_when_the_application_is_not_there(ground: EnvoyGround, envoy_client: None) -> None:
    expect_gone(connect(ground.peer, ("127.0.0.1", TO_CLOSED)))
    ground.until(lambda: "503" in ground.text("client.log"))
    ground.until(lambda: failures(ground, f"{POD_IP}:{CLOSED_PORT}", "connect refused", "inbound"))


def test_envoy_is_told_400_for_an_address_that_is_not_the_pods(ground: EnvoyGround, envoy_client: None) -> None:
    expect_gone(connect(ground.peer, ("127.0.0.1", TO_FOREIGN_ADDRESS)))
    ground.until(lambda: "400" in ground.text("client.log"))
    ground.until(lambda: "10.9.0.77:80 is no address of the pod" in ground.text("ztunnel.log"))


def test_envoy_answers_503_and_the_client_is_reset(ground: EnvoyGround, envoy_server: None) -> None:
    with connect(ground.pod, (PEER_IP, CLOSED_PORT)) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    ground.until(lambda: failures(ground, f"{PEER_IP}:{CLOSED_PORT}", "tunnel refused: the peer answered 503"))


def test_an_envoy_of_another_identity_is_not_spoken_to(ground: EnvoyGround) -> None:
    """The control plane says that a seller lives there, and somebody else answers."""
    files = ground.files("impostor", ground.certificate(OTHER))
    configuration = envoy.server(f"{IMPOSTOR_IP}:15008", [f"{IMPOSTOR_IP}:{APP_PORT}"], files, BUYER)
    ground.start_envoy("impostor", configuration, (IMPOSTOR_IP, 15008))
    with listen(ground.peer, (IMPOSTOR_IP, APP_PORT)) as listener:
        with connect(ground.pod, (IMPOSTOR_IP, APP_PORT)) as client, pytest.raises(ConnectionResetError):
            client.sendall(b"secret")
            client.recv(1)
        ground.until(lambda: failures(ground, IMPOSTOR_IP, f"tls failure: the peer is {OTHER}, not {SELLER}"))
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_an_envoy_that_expects_another_identity_refuses_us(ground: EnvoyGround) -> None:
    files = ground.files("suspicious", ground.certificate(SELLER))
    configuration = envoy.server(f"{SUSPICIOUS_IP}:15008", [f"{SUSPICIOUS_IP}:{APP_PORT}"], files, OTHER)
    ground.start_envoy("suspicious", configuration, (SUSPICIOUS_IP, 15008))
    with connect(ground.pod, (SUSPICIOUS_IP, APP_PORT)) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    ground.until(lambda: failures(ground, SUSPICIOUS_IP, "tls failure: "))


def test_an_envoy_that_expects_another_identity_does_not_speak_to_us(ground: EnvoyGround) -> None:
    files = ground.files("strange", ground.certificate(SELLER))
    configuration = envoy.client(f"{POD_IP}:15008", {TO_STRANGE_IDENTITY: f"{POD_IP}:{APP_PORT}"}, files, OTHER)
    ground.start_envoy("strange", configuration, ("127.0.0.1", TO_STRANGE_IDENTITY))
    with listen(ground.pod, (POD_IP, APP_PORT)):
        expect_gone(connect(ground.peer, ("127.0.0.1", TO_STRANGE_IDENTITY)))
    ground.until(lambda: 'listener=inbound_hbone error="tls failure: SSLV3_ALERT_CERTIFICATE_UNKNOWN"' in ground.text("ztunnel.log"))


def test_an_envoy_of_a_foreign_trust_domain_is_denied(ground: EnvoyGround) -> None:
    """Signed by our root, and yet not one of ours."""
    configuration = envoy.client(
        f"{POD_IP}:15008", {FROM_ABROAD: f"{POD_IP}:{APP_PORT}"}, ground.files("abroad", ground.foreign_certificate(FOREIGN)), BUYER
    )
    log_answers(configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"])
    ground.start_envoy("abroad", configuration, ("127.0.0.1", FROM_ABROAD))
    with listen(ground.pod, (POD_IP, APP_PORT)):
        expect_gone(connect(ground.peer, ("127.0.0.1", FROM_ABROAD)))
    ground.until(lambda: "401" in ground.text("abroad.log"))
    ground.until(lambda: f"'{FOREIGN}' is not of the trust domain cluster.local" in ground.text("ztunnel.log"))


def policy(kind: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": "of-the-shop", "namespace": "shop"}, "spec": spec}


OF_SELLERS = [{"from": [{"source": {"serviceAccounts": ["shop/seller"]}}]}]


@contextlib.contextmanager
def in_force(ground: EnvoyGround, body: dict[str, object]) -> Iterator[None]:
    path = ground.directory / "manifests/policy.yaml"
    fresh = path.with_name(".policy.yaml.new")
    fresh.write_text(yaml.safe_dump(body))
    fresh.rename(path)
    try:
        yield
    finally:
        path.unlink()


def gets_in(ground: EnvoyGround, target: tuple[str, int]) -> bool:
    """Whether the application of the captured pod is reached from Envoy's pod. A refusal's reset may come before connect() returns."""
    with listen(ground.pod, (POD_IP, APP_PORT)) as listener:
        listener.settimeout(1)
        try:
            with connect(ground.peer, target):
                listener.accept()[0].close()
        except (TimeoutError, ConnectionResetError):
            return False
    return True


THROUGH_ENVOY, IN_PLAIN = ("127.0.0.1", TO_APP), (POD_IP, APP_PORT)


def test_an_envoy_that_a_policy_denies_is_told_401_and_its_live_connection_ends(ground: EnvoyGround, envoy_client: None) -> None:
    way = Way(ground.peer, THROUGH_ENVOY, ground.pod, (POD_IP, APP_PORT), "inbound")
    with contextlib.ExitStack() as force:
        with way.pair() as (client, _):
            force.enter_context(in_force(ground, policy("AuthorizationPolicy", action="DENY", rules=OF_SELLERS)))
            expect_gone(client)
        assert not gets_in(ground, THROUGH_ENVOY)
        assert gets_in(ground, IN_PLAIN)
        ground.until(lambda: "401" in ground.text("client.log"))
        ground.until(lambda: "denied by policy shop/of-the-shop" in ground.text("ztunnel.log"))
    ground.until(lambda: gets_in(ground, THROUGH_ENVOY))


@pytest.mark.parametrize(
    "body",
    [policy("PeerAuthentication", mtls={"mode": "STRICT"}), policy("AuthorizationPolicy", action="ALLOW", rules=OF_SELLERS)],
    ids=["STRICT", "ALLOW"],
)
def test_an_envoy_gets_in_where_plaintext_does_not(ground: EnvoyGround, envoy_client: None, body: dict[str, object]) -> None:
    with in_force(ground, body):
        ground.until(lambda: not gets_in(ground, IN_PLAIN))
        assert gets_in(ground, THROUGH_ENVOY)
    ground.until(lambda: gets_in(ground, IN_PLAIN))


def test_an_envoy_whose_certificate_is_revoked_is_refused_and_its_live_connection_ends(ground: EnvoyGround) -> None:
    credentials = ground.certificate(SELLER)
    configuration = envoy.client(f"{POD_IP}:15008", {REVOKED: f"{POD_IP}:{APP_PORT}"}, ground.files("revoked", credentials), BUYER)
    target = ("127.0.0.1", REVOKED)
    ground.start_envoy("revoked", configuration, target)
    with Way(ground.peer, target, ground.pod, (POD_IP, APP_PORT), "inbound").pair() as (client, _):
        (ground.directory / "state/revoked").write_text(f"{serial_number_of(credentials):x}\n")
        expect_gone(client)
    assert not gets_in(ground, target)
    ground.until(lambda: "revoked" in ground.text("ztunnel.log"))
