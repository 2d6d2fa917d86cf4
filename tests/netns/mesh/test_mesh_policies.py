"""Who may talk to whom: policies in force where a connection arrives, on one node and across nodes."""

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.options import CAPTURE_MODES
from tests.netns.engine.certificates import Authority
from tests.netns.engine.tls import client_context
from tests.netns.mesh.ground import Log, Mesh, Place, mesh_of, until
from tests.netns.mesh.hbone_client import HboneClient
from tests.netns.mesh.manifests import APP_PORT, CLIENT, FAR, GUEST, MESH, NEAR, OTHER_PORT, PLAIN, manifests
from tests.netns.mesh.rules import ROOT_NAMESPACE, Rules, Way, authorization, peer_authentication, policies_of

# A changed policy ends the connections that it denies so soon.
CLOSING_S = 1.0
EBPF_ALONE = pytest.mark.parametrize("ruled", ["ebpf"], indirect=True)
FORMER_DOMAIN = "former.example"
ONE = "cluster.local/ns/mesh/sa/client"


@pytest.fixture(scope="module", params=CAPTURE_MODES)
def ruled(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    name, settings = f"rules{os.getpid()}{request.param[0]}", {"TRUST_DOMAIN_ALIASES": FORMER_DOMAIN}
    with mesh_of(name, manifests(MESH, GUEST, PLAIN), capture=request.param, **settings) as mesh:
        yield mesh


@pytest.fixture
def rules(ruled: Mesh) -> Iterator[Rules]:
    rules = Rules(ruled)
    yield rules
    rules.delete(MESH, GUEST, PLAIN)


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": fields}]}


def single(mesh: Mesh, namespace: str) -> list[str]:
    """The client's addresses, as blocks of one."""
    v4, v6 = mesh.pod(namespace, CLIENT).addresses
    return [v4, f"{v6}/128"]


FIELDS = ["namespaces", "principals", "serviceAccounts", "ipBlocks", "ports"]


def rule_of(mesh: Mesh, field: str, *, negated: bool) -> dict[str, Any]:
    """A rule that matches the client of `mesh`, or its port 8000; negated, everything but that."""
    values = {
        "namespaces": [MESH],
        "principals": [ONE],
        "serviceAccounts": [f"{MESH}/{CLIENT}"],
        "ipBlocks": single(mesh, MESH),
        "ports": [str(APP_PORT)],
    }[field]
    name = f"not{field[0].upper()}{field[1:]}" if negated else field
    return operation(**{name: values}) if field == "ports" else source(**{name: values})


@EBPF_ALONE
@pytest.mark.parametrize("negated", [False, True], ids=["plain", "negated"])
@pytest.mark.parametrize("action", ["DENY", "ALLOW"])
@pytest.mark.parametrize("field", FIELDS)
def test_each_field_and_its_negation(ruled: Mesh, rules: Rules, field: str, action: str, negated: bool):
    """On one node and across nodes. What the rule matches is refused by DENY, and everything else by ALLOW."""
    matched = rules.ways(MESH)
    others = rules.ways(MESH, port=OTHER_PORT) if field == "ports" else rules.ways(GUEST)
    rules.apply(authorization("by-field", rule_of(ruled, field, negated=negated), action=action))
    refused, allowed = (matched, others) if (action == "DENY") != negated else (others, matched)
    rules.settled(refused=refused, allowed=allowed)


def test_address_blocks_hold_for_plaintext_and_both_families(ruled: Mesh, rules: Rules, family: socket.AddressFamily):
    rules.apply(authorization("by-block", source(ipBlocks=single(ruled, PLAIN))))
    rules.settled(refused=rules.ways(PLAIN, family=family), allowed=rules.ways(MESH, GUEST, family=family))


@EBPF_ALONE
def test_source_identities_match_no_plaintext(rules: Rules):
    """A rule that asks for an identity never matches a client that has proved none; its negation does."""
    rules.apply(authorization("some-identity", source(principals=["*"]), action="ALLOW"))
    rules.settled(refused=rules.ways(PLAIN), allowed=rules.ways(MESH, GUEST))


@EBPF_ALONE
@pytest.mark.parametrize("scope", ["mesh", "namespace", "selector"])
def test_scopes(ruled: Mesh, rules: Rules, scope: str):
    near, far = (Way(ruled.pod(GUEST, CLIENT), ruled.pod(MESH, name)) for name in (NEAR, FAR))
    elsewhere = Way(ruled.pod(MESH, CLIENT), ruled.pod(GUEST, FAR))
    rule = source(namespaces=[MESH, GUEST])
    if scope == "selector":
        rules.apply(authorization("scoped", rule, selector={"matchLabels": {"pod": FAR}}))
        rules.settled(refused=[far], allowed=[near, elsewhere])
    elif scope == "namespace":
        rules.apply(authorization("scoped", rule))
        rules.settled(refused=[far, near], allowed=[elsewhere])
    else:
        rules.apply(authorization("scoped", rule, namespace=ROOT_NAMESPACE))
        rules.settled(refused=[far, near, elsewhere], allowed=rules.ways(PLAIN))


@EBPF_ALONE
def test_policy_without_rules_allows_nothing_and_deny_comes_first(rules: Rules):
    rules.apply(authorization("nothing", action="ALLOW"))
    rules.refused(*rules.ways(MESH, GUEST, PLAIN))
    rules.apply(authorization("everything", {}, action="ALLOW"))
    until(lambda: all(way.allowed() for way in rules.ways(MESH, GUEST, PLAIN)), "one more policy allows")
    rules.apply(authorization("but-not-guests", source(namespaces=[GUEST])))
    rules.settled(refused=rules.ways(GUEST), allowed=rules.ways(MESH, PLAIN))


def test_strict_and_permissive(rules: Rules):
    rules.apply(peer_authentication("default", "STRICT"))
    rules.settled(refused=rules.ways(PLAIN), allowed=rules.ways(MESH, GUEST))
    rules.apply(peer_authentication("default", "PERMISSIVE"))
    until(lambda: all(way.allowed() for way in rules.ways(PLAIN)), "plaintext is let in again")


@EBPF_ALONE
@pytest.mark.parametrize(("all_ports", "one_port"), [("STRICT", "PERMISSIVE"), ("PERMISSIVE", "STRICT")])
def test_mutual_tls_by_port(rules: Rules, all_ports: str, one_port: str):
    selector = {"matchLabels": {"app": "web"}}
    rules.apply(peer_authentication("by-port", all_ports, ports={OTHER_PORT: one_port}, selector=selector))
    ports = {all_ports: rules.ways(PLAIN), one_port: rules.ways(PLAIN, port=OTHER_PORT)}
    rules.settled(refused=ports["STRICT"], allowed=ports["PERMISSIVE"] + rules.ways(MESH) + rules.ways(MESH, port=OTHER_PORT))


@EBPF_ALONE
def test_strict_for_the_whole_mesh_and_permissive_for_a_namespace(ruled: Mesh, rules: Rules):
    elsewhere = Way(ruled.pod(PLAIN, CLIENT), ruled.pod(GUEST, FAR))
    rules.apply(peer_authentication("default", "STRICT", namespace=ROOT_NAMESPACE))
    rules.refused(elsewhere, *rules.ways(PLAIN))
    rules.apply(peer_authentication("default", "PERMISSIVE"))
    until(lambda: all(way.allowed() for way in rules.ways(PLAIN)), "the namespace lets plaintext in")
    assert not elsewhere.allowed()


def test_changed_policy_ends_the_live_connections_that_it_denies(ruled: Mesh, rules: Rules, server_name: str):
    server = ruled.pod(MESH, server_name)
    log = ruled.log(server.node)
    denied, spared = (Way(ruled.pod(namespace, CLIENT), server) for namespace in (GUEST, MESH))
    with denied.open() as ending, spared.open() as staying:
        ending.connection.settimeout(CLOSING_S * 5)
        rules.apply(authorization("no-guests", source(namespaces=[GUEST])))
        began_s = time.monotonic()
        assert ends(ending.connection)
        assert time.monotonic() - began_s < CLOSING_S
        assert staying.ask(b"still there?") == b"still there?"
    until(lambda: tells(log, "connection closed", "mesh/no-guests", denied.client), "the line says which policy ended it")


def tells(log: Log, message: str, policy: str, client: Place) -> bool:
    """Whether a line of the server's side names a policy as its error; other lines of the client may come late from other tests."""
    lines = log.find(message=message, direction="inbound", src_identity=client.identity)
    return any(policy in line.get("error", "") for line in lines)


def ends(connection: socket.socket) -> bool:
    """Waits for the other end to close or reset."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@EBPF_ALONE
def test_refusal_names_the_policy_and_is_counted(ruled: Mesh, rules: Rules, server_name: str):
    client, server = ruled.pod(GUEST, CLIENT), ruled.pod(MESH, server_name)
    log = ruled.log(server.node)
    before = ruled.metric(server.node, "istio_tcp_connections_closed_total", response_flags="DENY", source_principal=client.identity)
    rules.apply(authorization("no-guests", source(namespaces=[GUEST])))
    rules.refused(Way(client, server))
    until(lambda: tells(log, "connection failed", "mesh/no-guests", client), "the line says which policy refuses")
    after = ruled.metric(server.node, "istio_tcp_connections_closed_total", response_flags="DENY", source_principal=client.identity)
    assert after > before


@EBPF_ALONE
def test_dry_run_says_what_it_would_deny_and_denies_nothing(ruled: Mesh, rules: Rules, server_name: str):
    client, server = ruled.pod(GUEST, CLIENT), ruled.pod(MESH, server_name)
    log = ruled.log(server.node)
    rules.apply(authorization("rehearsal", source(namespaces=[GUEST]), annotations={"istio.io/dry-run": "true"}))
    way = Way(client, server)

    def said() -> bool:
        assert way.allowed()
        return log.find(message="would be denied", policies="mesh/rehearsal") != []

    until(said, "the log says what would be denied")
    assert way.allowed()


def condition_of(mesh: Mesh, name: str) -> dict[str, Any]:
    return next((one for one in policies_of(mesh) if one["name"] == name), {})


@EBPF_ALONE
def test_policy_that_asks_for_more_than_layer_4_says_so_and_is_not_half_enforced(ruled: Mesh, rules: Rules):
    """What it asks of HTTP cannot be known here: it allows nothing by that, and denies what it names."""
    http = {**source(namespaces=[GUEST]), **operation(methods=["GET"])}
    rules.apply(authorization("http-deny", http))
    rules.settled(refused=rules.ways(GUEST), allowed=rules.ways(MESH))
    said = str(condition_of(ruled, "http-deny"))
    assert "methods" in said
    rules.delete(MESH, GUEST, PLAIN)
    rules.apply(authorization("http-allow", http, action="ALLOW"))
    rules.refused(*rules.ways(GUEST, MESH, PLAIN))
    assert "methods" in str(condition_of(ruled, "http-allow"))


@EBPF_ALONE
def test_policy_that_nobody_enforces_says_so(ruled: Mesh, rules: Rules):
    rules.apply(authorization("custom", source(namespaces=[GUEST]), action="CUSTOM", provider={"name": "somebody"}))
    until(lambda: "CUSTOM" in str(condition_of(ruled, "custom")), "the status says what is not supported")
    assert all(way.allowed() for way in rules.ways(GUEST, MESH))


def connect_as(mesh: Mesh, trust_domain: str) -> int:
    """The status that somebody outside gets who has a certificate of the mesh's own root, of that trust domain."""
    client, server = mesh.pod(PLAIN, CLIENT), mesh.pod(MESH, FAR)
    directory = mesh.lab.layout.controlplane
    authority = Authority.of((directory / "root-key.pem").read_bytes(), (directory / "root-cert.pem").read_bytes())
    credentials = authority.issue(f"spiffe://{trust_domain}/ns/{MESH}/sa/{CLIENT}")
    with HboneClient(client, server, client_context(authority.root, credentials), socket.AF_INET) as peer:
        return peer.connect(f"{server.addresses[0]}:{APP_PORT}")[1]


@EBPF_ALONE
def test_foreign_trust_domain_is_refused_and_an_alias_is_one_of_us(ruled: Mesh, rules: Rules):
    """To policies an identity of the alias is that of the trust domain."""
    assert connect_as(ruled, "elsewhere.example") == 401
    assert connect_as(ruled, FORMER_DOMAIN) == 200
    rules.apply(authorization("not-this-one", source(principals=[ONE])))
    rules.refused(*rules.ways(MESH))
    assert connect_as(ruled, FORMER_DOMAIN) == 401
    rules.delete(MESH, GUEST, PLAIN)
    rules.apply(authorization("nor-by-its-former-name", source(principals=[ONE.replace("cluster.local", FORMER_DOMAIN)])))
    rules.settled(refused=rules.ways(MESH), allowed=rules.ways(GUEST))
