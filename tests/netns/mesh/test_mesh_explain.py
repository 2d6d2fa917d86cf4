"""`ambient explain` against what happens: for every pair of pods it says what their connections then meet."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from cli.explain import explain
from lab.layout import NAME_VARIABLE
from lab.options import CAPTURE_MODES
from tests.netns.mesh.ground import FAMILIES, Mesh, mesh_of, until
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, GUEST, MESH, NEAR, OTHER_PORT, PLAIN, manifest, manifests
from tests.netns.mesh.rules import Rules, Way, authorization, peer_authentication

ONE = "cluster.local/ns/mesh/sa/client"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with mesh_of(f"expl{os.getpid()}", manifests(MESH, GUEST, PLAIN), capture=CAPTURE_MODES[0]) as mesh:
        yield mesh


@pytest.fixture
def rules(mesh: Mesh) -> Iterator[Rules]:
    rules = Rules(mesh)
    yield rules
    rules.delete(MESH, GUEST, PLAIN)


def ask(mesh: Mesh, source: str, destination: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is said."""
    done = CliRunner().invoke(explain, ["--json", source, destination], env={NAME_VARIABLE: mesh.lab.layout.name})
    assert done.exit_code in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["allowed"] == (done.exit_code == 0)
    return done.exit_code, document


POLICIES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "strict": [peer_authentication("strict", "STRICT")],
    "deny one": [authorization("one", {"from": [{"source": {"principals": [ONE]}}]}, selector={"matchLabels": {"pod": FAR}})],
    "allow guests on a port": [
        authorization(
            "guests", {"from": [{"source": {"namespaces": [GUEST]}}], "to": [{"operation": {"ports": [str(APP_PORT)]}}]}, action="ALLOW"
        )
    ],
    "a wrong field": [authorization("wrong", {"from": [{"sauce": {}}]})],
    "dry run": [authorization("later", {}, annotations={"istio.io/dry-run": "true"})],
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_said_is_what_happens(mesh: Mesh, rules: Rules, name: str):
    """From clients in the mesh and outside it, to a pod beside and one away, by both families and two ports."""
    if POLICIES[name]:
        rules.apply(*POLICIES[name])
    for client in (MESH, GUEST, PLAIN):
        for server in (NEAR, FAR):
            for port in (APP_PORT, OTHER_PORT):
                for family in FAMILIES:
                    way = Way(mesh.pod(client, CLIENT), mesh.pod(MESH, server), port, family)
                    address = way.server.address(family)
                    code, said = ask(mesh, way.client.name, f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
                    (endpoint,) = said["targets"][0]["endpoints"]
                    words = f"{client} to {server}:{port}: {endpoint}"
                    until(lambda way=way, code=code: way.allowed() == (code == 0), words)
                    expected = "plain" if client == PLAIN else "same node" if server == NEAR else "tunnel"
                    assert (endpoint["way"], endpoint["workload"]) == (expected, f"{MESH}/{server}")


def test_the_policy_that_it_names_is_the_one_in_the_log(mesh: Mesh, rules: Rules):
    rules.apply(*POLICIES["deny one"])
    client, server = mesh.pod(MESH, CLIENT), mesh.pod(MESH, FAR)
    rules.refused(Way(client, server))
    log = mesh.log(server.node)
    assert not Way(client, server).allowed()
    _, said = ask(mesh, client.name, f"{MESH}/{FAR}:{APP_PORT}")
    endpoint = said["targets"][0]["endpoints"][0]
    assert f"{endpoint['policy']}: {endpoint['reason']}" in log.expect(message="connection failed", direction="inbound")["error"]
    assert endpoint["identity"] == client.identity


def test_a_service_is_as_good_as_all_of_its_endpoints(mesh: Mesh, rules: Rules):
    rules.apply(*POLICIES["deny one"])
    code, said = ask(mesh, f"{MESH}/{CLIENT}", "web")
    verdicts = {one["workload"]: one["allowed"] for target in said["targets"] for one in target["endpoints"]}
    assert (code, verdicts) == (1, {f"{MESH}/{NEAR}": True, f"{MESH}/{FAR}": False})
    assert ask(mesh, f"{GUEST}/{CLIENT}", f"web.{MESH}")[0] == 0


def test_a_bare_address_of_a_pod_is_reached_in_plain(mesh: Mesh, rules: Rules):
    """The service lists an address, not the pod: what STRICT then refuses is said beforehand."""
    v4 = mesh.pod(MESH, FAR).addresses[0]
    service = manifest("Service", MESH, "listed", spec={"ports": [{"port": 80, "targetPort": APP_PORT}]})
    slice_ = manifest(
        "EndpointSlice", MESH, "listed-1", labels={"kubernetes.io/service-name": "listed"}, api="discovery.k8s.io/v1",
        addressType="IPv4", ports=[{"port": APP_PORT}], endpoints=[{"addresses": [v4]}],
    )  # fmt: skip
    rules.apply(service, slice_, peer_authentication("strict", "STRICT"))
    code, said = ask(mesh, f"{MESH}/{CLIENT}", "listed:80")
    endpoint = said["targets"][0]["endpoints"][0]
    assert (code, endpoint["way"], endpoint["workload"], endpoint["identity"]) == (1, "plain", f"{MESH}/{FAR}", "")
    target = said["targets"][0]["address"].rpartition(":")[0]

    def refused() -> bool:
        try:
            connection = mesh.pod(MESH, CLIENT).connect(target, 80)
        except OSError:
            return True
        with connection:
            try:
                return not connection.recv(1)
            except OSError:
                return True

    until(refused, "it is refused")
