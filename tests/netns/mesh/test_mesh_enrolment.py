"""One label, on and off, under running traffic: no request is lost, and connections that were there go on."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from lab.netns import inside, set_sysctls
from mesh.enrolment import AMBIENT, MODE_LABEL
from tests.netns.mesh.ground import Mesh, Place
from tests.netns.mesh.manifests import CLIENT, FAR, MESH, NEAR, PLAIN, TOGGLE
from tests.netns.mesh.traffic import RATE, Traffic

TIMES = 3
# So few that the client's ports come around while the label goes on and off: what remembers them must not mistake one for another.
FEW_PORTS = {"ipv4/ip_local_port_range": "40000 41999", "ipv4/tcp_tw_reuse": "1"}
# From the others' point of view: fewer, so that the machine is not the limit.
SIDE_RATE = 25
# The agent lets connections go on for 5 s after the label is gone; the test asks a little less.
DRAIN_S = 4.5
_SWITCH_TIME_LIMIT_S = 30.0


def switch(mesh: Mesh, *, on: bool) -> None:
    """Changes the label and waits until the agents have made it so."""
    mesh.lab.label("namespace", TOGGLE, {MODE_LABEL: AMBIENT if on else None})
    mesh.lab.wait(_SWITCH_TIME_LIMIT_S)
    assert mesh.mesh_states(TOGGLE) == {"captured" if on else "-"}


@pytest.fixture
def toggling(mesh: Mesh) -> Iterator[Mesh]:
    yield mesh
    switch(mesh, on=False)


def test_label_on_and_off_under_running_traffic(toggling: Mesh):
    """The namespace with itself, and with those that were in the mesh all the time, and those that never were."""
    toggle, mesh, plain = (toggling.pod(namespace, CLIENT) for namespace in (TOGGLE, MESH, PLAIN))
    near, far = (toggling.pod(TOGGLE, name).address(socket.AF_INET) for name in (NEAR, FAR))
    others = [toggling.pod(namespace, FAR).address(socket.AF_INET) for namespace in (MESH, PLAIN)]
    streams = {
        "itself, another node": Traffic(toggle, far, RATE),
        "itself, the same node": Traffic(toggle, near, SIDE_RATE),
        "from the mesh": Traffic(mesh, far, SIDE_RATE),
        "from outside": Traffic(plain, far, SIDE_RATE),
        "to the mesh": Traffic(toggle, others[0], SIDE_RATE),
        "to outside": Traffic(toggle, others[1], SIDE_RATE),
    }
    set_sysctls(toggle.netns, FEW_PORTS)
    logs = [toggling.log(node) for node in ("node1", "node2")]
    with contextlib.ExitStack() as stack:
        for traffic in streams.values():
            stack.enter_context(traffic)
        for on in (True, False) * TIMES:
            switch(toggling, on=on)
            streams["itself, another node"].wait_for(RATE)
    said = [line for log in logs for line in log.find(message="connection failed")]
    assert ({name: traffic.failed for name, traffic in streams.items() if traffic.failed}, said) == ({}, [])


def test_connection_from_before_the_label_outlives_it(toggling: Mesh, server_name: str):
    client, server = toggling.pod(TOGGLE, CLIENT), toggling.pod(TOGGLE, server_name)
    with toggling.talk(client, server) as old:
        assert old.ask(b"before") == b"before"
        switch(toggling, on=True)
        log = toggling.log(client.node)
        assert old.ask(b"under the label") == b"under the label"
        with toggling.talk(client, server) as new:
            assert new.ask(b"captured") == b"captured"
            log.expect(message="connection opened", src_identity=client.identity, dst_identity=server.identity)
        assert old.ask(b"still") == b"still"
        switch(toggling, on=False)
        assert old.ask(b"and after") == b"and after"


def test_captured_connection_outlives_the_label_as_long_as_draining_takes(toggling: Mesh):
    client, server = toggling.pod(TOGGLE, CLIENT), toggling.pod(TOGGLE, FAR)
    switch(toggling, on=True)
    with toggling.talk(client, server) as old:
        toggling.lab.label("namespace", TOGGLE, {MODE_LABEL: None})
        began_s = time.monotonic()
        while time.monotonic() - began_s < DRAIN_S:
            assert old.ask(b"draining") == b"draining"
        toggling.lab.wait(_SWITCH_TIME_LIMIT_S)
        with pytest.raises(OSError):
            while True:
                old.ask(b"it was closed")


def test_connection_that_ends_by_itself_ends_the_draining(toggling: Mesh):
    client, server = toggling.pod(TOGGLE, CLIENT), toggling.pod(TOGGLE, FAR)
    switch(toggling, on=True)
    with toggling.talk(client, server) as old:
        old.ask(b"one request")
    began_s = time.monotonic()
    switch(toggling, on=False)
    assert time.monotonic() - began_s < DRAIN_S


def marked_in_conntrack(place: Place) -> int:
    """How many connections the kernel remembers with a mark of capture."""

    def count() -> int:
        with NFCTSocket() as conntrack:
            return sum(bool(entry.get_attr("CTA_MARK")) for entry in conntrack.dump())

    return inside(place.netns, count)


def test_the_kernel_forgets_captured_connections_with_the_label(toggling: Mesh, server_name: str):
    client, server = toggling.pod(TOGGLE, CLIENT), toggling.pod(TOGGLE, server_name)
    switch(toggling, on=True)
    with toggling.talk(client, server) as talk:
        talk.ask(b"captured")
    assert (marked_in_conntrack(client) > 0) == (toggling.capture == "iptables")
    switch(toggling, on=False)
    assert marked_in_conntrack(client) == marked_in_conntrack(server) == 0
