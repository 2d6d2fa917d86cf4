"""Our HTTP/2 and nghttp2: its clients, and its proxy nghttpx, which speaks CONNECT as a client and as a server."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.hbone_endpoint import WAIT_S, Endpoint, Server, running, serving
from ztunnel.hbone import ConnectionFailed, ErrorCode, Rejected, Role, connect_block, literal_field

PAYLOAD = bytes(range(256)) * 4096

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("nghttp", "h2load", "nghttpx"))), reason="needs the Debian packages nghttp2-client and nghttp2-proxy"
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running_server:
        yield running_server


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False).stdout


# Its clients, which know no CONNECT


def test_get_is_answered_405(server: Server) -> None:
    output = run("nghttp", "-v", "--no-dep", f"http://127.0.0.1:{server.port}/")
    assert ":status: 405" in output
    assert "allow: CONNECT" in output


def test_priorities_padding_and_a_body_are_no_trouble(server: Server) -> None:
    output = run("nghttp", "-v", "--padding=100", "--data=/proc/self/exe", "--trailer=a: b", f"http://127.0.0.1:{server.port}/")
    assert ":status: 405" in output
    [endpoint] = server.endpoints
    assert not any(isinstance(event, ConnectionFailed) for event in endpoint.events)


def test_connect_with_a_path_is_malformed(server: Server) -> None:
    output = run("nghttp", "-v", "--no-dep", "-H:method: CONNECT", f"http://127.0.0.1:{server.port}/")
    assert "error_code=PROTOCOL_ERROR" in output
    [endpoint] = server.endpoints
    assert [type(event) for event in endpoint.events if isinstance(event, Rejected)] == [Rejected]


def test_headers_without_end_are_cut_off(server: Server) -> None:
    output = run("nghttp", "-v", "--no-dep", "--continuation", f"http://127.0.0.1:{server.port}/")
    assert "ENHANCE_YOUR_CALM" in output
    assert ":status: 405" in run("nghttp", "-v", f"http://127.0.0.1:{server.port}/")


def test_load(server: Server) -> None:
    output = run("h2load", "-n", "1600", "-c", "2", "-m", "50", f"http://127.0.0.1:{server.port}/")
    assert "status codes: 0 2xx, 0 3xx, 1600 4xx, 0 5xx" in output


def test_a_client_that_never_sends_anything_useful_is_cut_off(server: Server) -> None:
    run("h2load", "-n", "5000", "-c", "1", "-m", "50", f"http://127.0.0.1:{server.port}/")
    assert any(isinstance(e, ConnectionFailed) and e.code == ErrorCode.ENHANCE_YOUR_CALM for e in server.endpoints[-1].events)
    assert ":status: 405" in run("nghttp", "-v", f"http://127.0.0.1:{server.port}/")


# nghttpx


@contextmanager
def nghttpx(directory: Path, backend: int) -> Iterator[Path]:
    """A forward proxy whose every request goes on over HTTP/2; yields the path of its socket."""
    path = directory / "nghttpx.sock"
    command = ["nghttpx", "--conf=/dev/null", "--single-thread", "--http2-proxy", f"--frontend=unix:{path};no-tls"]
    command.append(f"--backend=127.0.0.1,{backend};;proto=h2")
    with subprocess.Popen([*command, "--log-level=NOTICE"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("Listening on UNIX domain socket" in line for line in process.stderr)
            yield path
        finally:
            process.terminate()
            process.communicate(timeout=WAIT_S)


def dial(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_S)
    sock.connect(str(path))
    return sock


def read_until(sock: socket.socket, end: bytes) -> bytes:
    octets = b""
    while not octets.endswith(end):
        piece = sock.recv(1)
        assert piece, octets
        octets += piece
    return octets


def test_connect_through_the_proxy_to_our_server(server: Server, tmp_path: Path) -> None:
    with nghttpx(tmp_path, server.port) as path, dial(path) as sock:
        sock.sendall(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\nbaggage: a=b\r\n\r\n")
        assert b" 200 " in read_until(sock, b"\r\n\r\n")
        for size in (5, 100_000, len(PAYLOAD)):
            echo = bytearray()
            sent = 0
            while len(echo) < size:
                if sent < size:
                    sent += sock.send(PAYLOAD[sent : min(size, sent + 65_536)])
                echo += sock.recv(1 << 20)
            assert echo == PAYLOAD[:size]
    [half] = [half for endpoint in server.endpoints for half in endpoint.halves.values()]
    assert half.authority == "10.0.0.1:80"
    assert dict(half.headers)["baggage"] == "a=b"


def test_our_refusal_reaches_the_proxy(server: Server, tmp_path: Path) -> None:
    with nghttpx(tmp_path, server.port) as path, dial(path) as sock:
        sock.sendall(b"CONNECT 10.0.0.1:503 HTTP/1.1\r\nHost: 10.0.0.1:503\r\n\r\n")
        assert b" 503 " in read_until(sock, b"\r\n")


def test_our_client_through_the_proxy_to_our_server(server: Server, tmp_path: Path) -> None:
    with nghttpx(tmp_path, server.port) as path, running(Endpoint(Role.CLIENT, dial(path))) as client:
        block = connect_block("10.0.0.1:80", (("baggage", "a=b"),))
        halves = [client.open(block + literal_field(b"forwarded", b"for=%d" % n), bytes([n]) + PAYLOAD, end=True) for n in range(5)]
        refused = client.open(connect_block("10.0.0.1:503", ()))
        for number, half in enumerate(halves):
            client.wait(lambda half=half: len(half.received) == 1 + len(PAYLOAD), "the echo")
            assert half.status == 200
            assert half.received == bytes([number]) + PAYLOAD
        client.wait(lambda: refused.status, "the refusal")
        assert refused.status == 503
    headers = [dict(half.headers) for endpoint in server.endpoints for half in endpoint.halves.values() if half.status == 200]
    assert sorted(fields["forwarded"] for fields in headers) == [f"for={n}" for n in range(5)]
