"""Programs of the mesh that are killed: what stops, what goes on, and what never shows on the wire."""

import os
import secrets
import socket
import time
from pathlib import Path

import pytest

from tests.netns.mesh.ground import Mesh, Place, Talk, until
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, MESH, NEAR, PLAIN
from tests.netns.mesh.test_mesh_enrolment import switch
from tests.netns.mesh.test_mesh_wire import HBONE_PORT, tcp_of
from tests.netns.mesh.traffic import RATE, Traffic
from tests.netns.mesh.wire import Wire

# From the start of the new process to the first request that is answered.
RECOVERY_S = 2.0
# A connection attempt must be over so soon, or it counts as failed: the next may get through.
ATTEMPT_S = 0.3
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def lived_s(process: int) -> float:
    """How long a process has been there, without the time in which others had the processors. Source: proc(5), stat; sched-stats."""
    directory = Path("/proc") / str(process)
    started_s = int((directory / "stat").read_text().rpartition(")")[2].split()[19]) / _CLOCK_TICKS
    waited_ns = sum(int(thread.read_text().split()[1]) for thread in directory.glob("task/*/schedstat"))
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s - waited_ns / 1e9


def new_process(mesh: Mesh, node: str, program: str, old: int) -> int:
    until(lambda: mesh.process(node, program) not in {0, old}, f"{program} of {node} runs again")
    return mesh.process(node, program)


class Attempts:
    """Tries to get through until it does; `refused` counts those that did not."""

    def __init__(self, client: Place, server: Place, family: socket.AddressFamily, secret: bytes) -> None:
        self._client, self._target, self._family = client, (server.address(family), APP_PORT), family
        self._secret = secret
        self.refused = 0

    def once(self) -> bool:
        try:
            with self._client.open(self._family) as connection:
                connection.settimeout(ATTEMPT_S)
                connection.connect(self._target)
                connection.sendall(self._secret)
                talk = Talk(connection)
                got_through = talk.ask(b"?") != b""
        except OSError:
            self.refused += 1
            return False
        return got_through


WAYS: dict[str, tuple[str, str, str, str]] = {
    # client, server, and the node whose ztunnel is killed
    "the client's": (MESH, MESH, FAR, "node1"),
    "the server's": (MESH, MESH, FAR, "node2"),
    "of both": (MESH, MESH, NEAR, "node1"),
    "of the only captured server": (PLAIN, MESH, FAR, "node2"),
    "of the only captured client": (MESH, PLAIN, FAR, "node1"),
}


@pytest.mark.parametrize("which", WAYS)
def test_ztunnel_killed_stops_traffic_and_leaks_nothing(mesh: Mesh, which: str):
    asking, answering, name, node = WAYS[which]
    client, server = mesh.pod(asking, CLIENT), mesh.pod(answering, name)
    secret = f"marker-{secrets.token_hex(12)}".encode()
    attempts = Attempts(client, server, socket.AF_INET, secret)
    with Wire(mesh.node_netns("node1")) as wire:
        with mesh.talk(client, server) as old:
            killed = mesh.kill(node, "ztunnel")
            assert not attempts.once()
            with pytest.raises(OSError):
                while old.ask(secret):
                    pass
        until(attempts.once, "traffic flows again")
        assert lived_s(new_process(mesh, node, "ztunnel", killed)) < RECOVERY_S
        if (asking, answering) == (MESH, MESH):
            assert not wire.shows(secret)
            assert {HBONE_PORT in packet.ports for packet in tcp_of(wire, client, server)} <= {True}
    assert attempts.refused
    until(lambda: not mesh.lab.status()["pending"], "all is settled again")


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_agent_killed_and_nobody_notices(mesh: Mesh, node: str):
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(MESH, FAR)
    with mesh.talk(client, server) as old, Traffic(client, server.address(socket.AF_INET)) as traffic:
        ztunnel = mesh.process(node, "ztunnel")
        killed = mesh.kill(node, "agent")
        new_process(mesh, node, "agent", killed)
        until(lambda: mesh.mesh_states(MESH) == {"captured"}, "the new agent holds the pods")
        traffic.wait_for(RATE)
        assert old.ask(b"still there?") == b"still there?"
    assert traffic.failed == []
    assert mesh.process(node, "ztunnel") == ztunnel
    check_enrolment_works(mesh)


def check_enrolment_works(mesh: Mesh) -> None:
    """Pods come and go through an agent that took over, as before."""
    for on in (True, False):
        switch(mesh, on=on)


def test_control_plane_killed_and_what_is_known_goes_on(mesh: Mesh):
    client, far, near = mesh.pod(MESH, CLIENT), mesh.pod(MESH, FAR), mesh.pod(MESH, NEAR)
    with mesh.talk(client, far) as old:
        killed = mesh.kill("", "controlplane")
        with Traffic(client, far.address(socket.AF_INET)) as traffic:
            with mesh.talk(client, near) as beside, mesh.talk_to_service(client, MESH) as service:
                assert beside.ask(b"?") + service.ask(b"!") == b"?!"
            new_process(mesh, "", "controlplane", killed)
            traffic.wait_for(RATE)
        assert old.ask(b"still there?") == b"still there?"
    assert traffic.failed == []
    until(lambda: not mesh.lab.status()["pending"], "all is settled again")
