"""What the node's own processes send a pod reaches it also under STRICT, and nothing that only looks like it does."""

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from daemonset.capture.plan import PROBES
from daemonset.node.probe_rules import TABLE
from lab.options import CAPTURE_MODES
from mesh.enrolment import MODE_LABEL
from tests.netns.mesh.ground import FAMILIES, Mesh, Place, mesh_of, until
from tests.netns.mesh.manifests import CLIENT, FAR, MESH, NEAR, PLAIN, manifests
from tests.netns.mesh.rules import ATTEMPT_S, Rules, Way, peer_authentication

NODE = "node1"


@pytest.fixture(scope="module", params=CAPTURE_MODES)
def strict(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """A mesh whose pods take no plaintext."""
    with mesh_of(f"probe{os.getpid()}{request.param[0]}", manifests(MESH, PLAIN), capture=request.param) as mesh:
        rules = Rules(mesh)
        rules.apply(peer_authentication("strict", "STRICT"))
        rules.refused(*rules.ways(PLAIN))
        yield mesh


def node(mesh: Mesh) -> Place:
    """A process of the node, such as its kubelet."""
    return Place(NODE, NODE, mesh.node_netns(NODE), ("", ""))


def nft(mesh: Mesh, *arguments: str) -> str:
    command = ["ip", "netns", "exec", mesh.node_netns(NODE), "nft", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def tables(mesh: Mesh) -> str:
    return nft(mesh, "list", "tables")


@pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
def test_a_process_of_the_node_is_let_in_and_the_pod_sees_the_address_of_probes(strict: Mesh, family: socket.AddressFamily):
    with Way(node(strict), strict.pod(MESH, NEAR), family=family).open() as talk:
        assert talk.seen_address == str(PROBES[4 if family is socket.AF_INET else 6])


@pytest.mark.parametrize("server", [NEAR, FAR])
def test_a_pod_that_takes_the_address_of_probes_is_not_let_in(strict: Mesh, server: str):
    """Not on its own node, and not on another one."""
    client, address = strict.pod(PLAIN, CLIENT), str(PROBES[4])
    ip = ["ip", "-n", client.netns, "address"]
    subprocess.run([*ip, "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        with client.open(socket.AF_INET) as connection:
            connection.settimeout(ATTEMPT_S)
            connection.bind((address, 0))
            with pytest.raises(OSError):
                connection.connect((strict.pod(MESH, server).address(socket.AF_INET), 8000))
    finally:
        subprocess.run([*ip, "del", f"{address}/32", "dev", "lo"], check=True)


def test_what_the_node_masquerades_is_not_let_in(strict: Mesh):
    """It comes from the node's address, and from no process of the node."""
    client, server = strict.pod(PLAIN, CLIENT), strict.pod(MESH, NEAR)
    nft(strict, "add table ip disguise; add chain ip disguise out { type nat hook postrouting priority srcnat; };"
        f" add rule ip disguise out ip saddr {client.address(socket.AF_INET)} masquerade")  # fmt: skip
    try:
        assert not Way(client, server).allowed()
    finally:
        nft(strict, "delete table ip disguise")


def test_rules_that_somebody_removes_come_back(strict: Mesh):
    nft(strict, "delete", "table", "inet", TABLE)
    until(lambda: f"table inet {TABLE}" in tables(strict), "the rules are back")
    Way(node(strict), strict.pod(MESH, NEAR)).open().connection.close()


def test_a_killed_agent_leaves_the_rules_and_the_next_one_keeps_them(strict: Mesh):
    before = strict.process(NODE, "agent")
    strict.kill(NODE, "agent")
    Way(node(strict), strict.pod(MESH, NEAR)).open().connection.close()
    until(lambda: strict.process(NODE, "agent") not in {0, before}, "the agent runs again")
    until(lambda: strict.mesh_states(MESH) == {"captured"}, "its pods are captured")
    Way(node(strict), strict.pod(MESH, NEAR)).open().connection.close()


def test_without_pods_in_the_mesh_there_are_no_rules(strict: Mesh):
    strict.lab.label("namespace", MESH, {MODE_LABEL: None})
    try:
        until(lambda: f"table inet {TABLE}" not in tables(strict), "the rules are gone")
    finally:
        strict.lab.label("namespace", MESH, {MODE_LABEL: "ambient"})
        until(lambda: strict.mesh_states(MESH) == {"captured"}, "the pods are captured again")
