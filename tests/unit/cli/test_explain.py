"""What people write for a destination, and what they read."""

import json
from ipaddress import ip_address

import pytest

from cli.explain.destination import addresses_of_name, only_port, parse_destination, parse_hosts
from cli.explain.display import document, lines
from cli.manifests import mesh_settings
from mesh.catalogue.changes import ObjectKey
from mesh.errors import ConfigError
from mesh.explain import Applying, Arrival, Explanation, Way
from mesh.model import PortMapping, Service, SocketAddress, TunnelProtocol, Workload
from mesh.policy.conditions import Condition, ConditionType, Reason
from mesh.policy.evaluation import Grounds, Ruling
from mesh.policy.model import Authorization, PolicyAction, PolicyScope

HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost
10.96.0.11\tweb.default.svc.cluster.local web.default.svc web.default web
fd00:10:96::b\tweb.default.svc.cluster.local web.default.svc web.default web # the other family
"""
V4, V6 = ip_address("10.96.0.11"), ip_address("fd00:10:96::b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ("web", 0)),
        ("web:80", ("web", 80)),
        ("default/web:8080", ("default/web", 8080)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("fd00::1", ("fd00::1", 0)),
        ("[fd00::1]:80", ("fd00::1", 80)),
        ("[fd00::1]", ("fd00::1", 0)),
    ],
)
def test_destinations(text: str, expected: tuple[str, int]) -> None:
    assert parse_destination(text) == expected


@pytest.mark.parametrize("text", ["", ":80", "web:", "web:x", "web:0", "web:65536", "a:b:c", "http://web/", "[fd00::1", "[]:80"])
def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(ConfigError, match="DESTINATION"):
        parse_destination(text)


@pytest.mark.parametrize("name", ["web", "WEB", "default/web", "web.default", "web.default.svc.cluster.local"])
def test_names_are_those_of_the_pod(name: str) -> None:
    assert addresses_of_name(name, parse_hosts(HOSTS)) == (V4, V6)


def test_an_address_stands_for_itself() -> None:
    assert addresses_of_name("fd00:0::1", {}) == (ip_address("fd00::1"),)


def test_an_unknown_name_says_what_is_known() -> None:
    with pytest.raises(ConfigError) as caught:
        addresses_of_name("wbe", parse_hosts(HOSTS))
    assert str(caught.value).endswith("a name that the pod knows: web, web.default, web.default.svc, web.default.svc.cluster.local")


def test_a_port_may_be_left_out_where_there_is_one() -> None:
    service = Service("web", "default", "web", (V4,), (PortMapping(80, 8080),))
    assert only_port("web", service, ()) == 80
    assert only_port("web-1", None, [8080, 8080]) == 8080
    for declared, words in (((), "expected x:PORT$"), ((80, 443), "expected x:PORT, where PORT is one of 80, 443$")):
        with pytest.raises(ConfigError, match=words):
            only_port("x", None, declared)


def test_settings_of_the_lab_are_those_of_the_mesh() -> None:
    settings = mesh_settings({"TRUST_DOMAIN": "a.example", "TRUST_DOMAIN_ALIASES": "b.example,c.example", "LOG_LEVEL": "debug"})
    assert (settings.trust_domain, settings.trust_domain_aliases) == ("a.example", ("b.example", "c.example"))
    assert mesh_settings({}).trust_domain_aliases == ()


def workload(name: str, *ips: str, node: str = "node1", captured: bool = True) -> Workload:
    protocol = TunnelProtocol.HBONE if captured else TunnelProtocol.NONE
    return Workload(f"u/{name}", name, "default", name, "td", tuple(map(ip_address, ips)), node, protocol)


CLIENT, WEB = workload("client", "10.0.0.1", "fd00::1"), workload("web", "10.0.0.2", "fd00::2", node="node2")
NO = Authorization("no", "default", PolicyScope.NAMESPACE, PolicyAction.DENY, ())
REFUSED = Ruling(False, "default/no", Grounds.DENIED)


def reached(ip: str, ruling: Ruling = REFUSED, *, matches: bool = True) -> Explanation:
    address = SocketAddress(ip_address(ip), 8080)
    return Explanation(address, None, (Arrival(address, WEB, Way.TUNNEL, CLIENT.identity, ruling, (Applying(NO, matches),)),))


def test_both_families_are_told_of_once() -> None:
    said = list(lines(CLIENT, "web", [reached("10.0.0.2"), reached("fd00::2")], {}))
    assert said == [
        "default/client on node1, in the mesh as spiffe://td/ns/default/sa/client",
        "",
        "✗ default/web on node2: 10.0.0.2:8080, [fd00::2]:8080",
        "  mutual TLS to the ztunnel of node2, as spiffe://td/ns/default/sa/client",
        "  refused by default/no: a DENY policy matches",
        "    DENY   default/no: matches",
        "",
        "refused",
    ]


def test_families_that_differ_are_told_of_apart() -> None:
    allowed = reached("fd00::2", Ruling(True, "", Grounds.UNRESTRICTED), matches=False)
    said = list(lines(CLIENT, "web", [reached("10.0.0.2"), allowed], {}))
    assert [line for line in said if line.startswith(("✓", "✗"))] == [
        "✗ default/web on node2: 10.0.0.2:8080",
        "✓ default/web on node2: [fd00::2]:8080",
    ]
    assert said[-1] == "refused by 1 of 2 endpoints"


def test_a_policy_that_is_not_enforced_as_written_says_why() -> None:
    problem = Condition(ConditionType.ACCEPTED, False, Reason.UNKNOWN_FIELD, "spec.ruels: no such field")
    said = list(lines(CLIENT, "web", [reached("10.0.0.2")], {ObjectKey("AuthorizationPolicy", "default", "no"): (problem,)}))
    assert "           Accepted: UnknownField: spec.ruels: no such field" in said


def test_nobody_enforces_policy_outside_the_mesh() -> None:
    address = SocketAddress(ip_address("10.0.0.9"), 80)
    explanation = Explanation(address, None, (Arrival(address, workload("db", "10.0.0.9", captured=False), Way.PLAIN),))
    said = list(lines(CLIENT, "db", [explanation], {}))
    assert said[2:] == [
        "✓ default/db on node1: 10.0.0.9:80",
        "  plaintext: the endpoint is not in the mesh",
        "  allowed: policies are not enforced where the endpoint is not in the mesh",
        "",
        "allowed",
    ]


def test_what_leads_nowhere_says_so_once() -> None:
    explanations = [Explanation(SocketAddress(ip, 81), failure="service web has no port 81") for ip in (V4, V6)]
    assert list(lines(CLIENT, "web:81", explanations, {}))[1:] == ["✗ service web has no port 81", "", "refused"]


def test_the_document_for_programs() -> None:
    read = json.loads(json.dumps(document(CLIENT, "web", [reached("10.0.0.2")])))
    (endpoint,) = read["targets"][0]["endpoints"]
    assert (read["source"], read["allowed"], read["captured"]) == ("default/client", False, True)
    assert (endpoint["workload"], endpoint["way"], endpoint["policy"], endpoint["allowed"]) == (
        "default/web",
        "tunnel",
        "default/no",
        False,
    )
    assert endpoint["policies"] == [{"name": "default/no", "action": "DENY", "dry_run": False, "matches": True}]
