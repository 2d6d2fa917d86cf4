"""ztunnel as a process beside a real control plane: from start to drain, with an agent that the test plays."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.wire import zds_pb2 as zds
from tests.netns.ztunnel.ground import PATIENCE_S, POD_IP, POD_UID, SERVICE_IP, STRANGER_IP, Agent, Ground, entered, stop

BUYER = "spiffe://cluster.local/ns/shop/sa/buyer"
# What an Envoy that does the same has resident is 76 MB; this is idle, and traffic needs room.
MAX_RESIDENT_KB = 66_000


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    try:
        ground.lay()
        ground.manifests()
        ground.start_control_plane()
        yield ground
    finally:
        ground.clear()


@pytest.fixture
def agent(ground: Ground) -> Iterator[Agent]:
    agent = Agent(ground.directory / "ztunnel.sock")
    yield agent
    agent.close()


def enrol(ground: Ground, agent: Agent) -> None:
    assert agent.accept().version == zds.V1
    assert agent.add(POD_UID, "client", "shop", "buyer", ground.pod) == ""
    assert agent.snapshot_sent() == ""
    ground.until(lambda: ground.get(15021, "/healthz/ready") == (200, "ready\n"))


def exchange(ground: Ground, address: tuple[str, int]) -> None:
    """A server outside the mesh and a client in the pod: five bytes there, seven back."""
    with entered(ground.node):
        server = socket.create_server(address)
    server.settimeout(PATIENCE_S)
    with server:
        with entered(ground.pod):
            client = socket.create_connection(address, timeout=PATIENCE_S)
        accepted, (source, _) = server.accept()
        with client, accepted:
            assert source == POD_IP
            client.sendall(b"hello")
            assert accepted.recv(100) == b"hello"
            accepted.sendall(b"answer!")
            assert client.recv(100) == b"answer!"


def test_a_pod_from_enrolment_to_release(ground: Ground, agent: Agent) -> None:
    process = ground.start_ztunnel()
    assert agent.accept().version == zds.V1
    ground.until(lambda: ground.get(15021, "/healthz/ready")[0] == 503)
    assert "the agent has not sent its snapshot yet" in ground.get(15021, "/healthz/ready")[1]
    assert agent.add(POD_UID, "client", "shop", "buyer", ground.pod) == ""
    with entered(ground.pod):
        for port in (15001, 15006, 15008):
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    assert agent.snapshot_sent() == ""
    ground.until(lambda: ground.get(15021, "/healthz/ready") == (200, "ready\n"))
    dump = ground.dump()
    assert [pod["identity"] for pod in dump["pods"]] == [BUYER]
    assert [(one["identity"], one["state"]) for one in dump["certificates"]] == [(BUYER, "valid")]
    assert [one["addresses"] for one in dump["workloads"]] == [[POD_IP]]
    assert "PRIVATE KEY" not in str(dump)
    assert agent.delete(POD_UID) == ""
    dump = ground.dump()
    assert (dump["pods"], dump["certificates"], dump["engine"]["pods"]) == ([], [], 0)
    with entered(ground.pod), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 15001), timeout=PATIENCE_S)
    assert stop(process) == 0


def test_a_stranger_is_reached_and_the_connection_is_told(ground: Ground, agent: Agent) -> None:
    process = ground.start_ztunnel(LOG_FORMAT="plain")
    enrol(ground, agent)
    exchange(ground, (STRANGER_IP, 7000))
    ground.until(lambda: "connection closed" in ground.text("ztunnel.log"))
    (opened,) = re.findall(r"^.*\tinfo\taccess\tconnection opened\t.*$", ground.text("ztunnel.log"), re.MULTILINE)
    assert f"src.workload=client src.namespace=shop src.identity={BUYER} dst.addr={STRANGER_IP}:7000 direction=outbound" in opened
    assert "bytes_sent=7 bytes_recv=5 duration=" in ground.text("ztunnel.log")
    metrics = ground.get(15020, "/metrics")[1]
    assert re.search(r'^istio_tcp_sent_bytes_total\{.*source_workload="client".*\} 7\.0$', metrics, re.MULTILINE)
    assert re.search(r'^istio_tcp_connections_closed_total\{.*response_flags="-".*\} 1\.0$', metrics, re.MULTILINE)
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert resident is not None
    assert int(resident[1]) < MAX_RESIDENT_KB


def test_a_service_without_pods_is_refused_with_the_reason_in_the_log(ground: Ground, agent: Agent) -> None:
    ground.start_ztunnel()
    enrol(ground, agent)
    with entered(ground.pod):
        client = socket.create_connection((SERVICE_IP, 80), timeout=PATIENCE_S)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    ground.until(lambda: 'error="no upstream: service' in ground.text("ztunnel.log"))
    assert "has no ready endpoint for port 80" in ground.text("ztunnel.log")


def test_the_agent_and_the_control_plane_may_go(ground: Ground, agent: Agent) -> None:
    ground.start_ztunnel()
    enrol(ground, agent)
    exchange(ground, (STRANGER_IP, 7000))
    agent.hang_up()
    control_plane = ground.processes[0]
    control_plane.send_signal(signal.SIGKILL)
    control_plane.wait()
    ground.until(lambda: not ground.dump()["control_plane"]["connected"])
    exchange(ground, (STRANGER_IP, 7001))
    assert ground.get(15021, "/healthz/ready")[0] == 200, "it serves what it knows"
    assert agent.accept().version == zds.V1
    assert agent.say(zds.WorkloadRequest(keep=zds.KeepWorkload(uid=POD_UID))) == ""
    assert agent.snapshot_sent() == ""
    exchange(ground, (STRANGER_IP, 7002))


def test_a_killed_ztunnel_leaves_a_pod_that_fails_closed_until_the_next_one(ground: Ground, agent: Agent) -> None:
    process = ground.start_ztunnel()
    enrol(ground, agent)
    process.kill()
    process.wait()
    with entered(ground.pod), pytest.raises(OSError, match="refused"):
        socket.create_connection((STRANGER_IP, 7000), timeout=PATIENCE_S)
    agent.hang_up()
    ground.start_ztunnel()
    enrol(ground, agent)
    exchange(ground, (STRANGER_IP, 7000))


def test_an_engine_that_is_not_there_is_a_wrong_setting(ground: Ground) -> None:
    process = ground.start_ztunnel(ENGINE="native")
    assert process.wait(PATIENCE_S) == 78
    ground.until(lambda: "ENGINE: 'native': expected" in ground.text("ztunnel.log"))
