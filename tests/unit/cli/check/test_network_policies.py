"""Who may reach the application must be able to reach the port of the tunnels."""

from typing import Any

import pytest

from cli.check.findings import Level
from cli.check.network_policies import judge_policies
from tests.unit.cli.check.documents import Document, mesh_namespace, namespace, pod, policy

WEB = {"ports": [{"port": 80, "protocol": "TCP"}]}
TUNNEL = {"ports": [{"port": 15008}]}
SHOP = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
BANK = {"namespaceSelector": {"matchLabels": {"team": "bank"}}}


def _levels(*policies: Document, pods: list[Document] | None = None, spaces: list[Document] | None = None) -> list[Level]:
    return [one.level for one in judge_policies(pods or [pod("web", app="web")], spaces or [mesh_namespace()], policies)]


@pytest.mark.parametrize(
    ("rules", "level"),
    [
        ([WEB], Level.ERROR),
        ([WEB, TUNNEL], Level.GOOD),
        ([{"ports": [{"port": 80}, {"port": 15008}]}], Level.GOOD),
        ([{}], Level.GOOD),
        ([{"from": [SHOP]}], Level.GOOD),
        ([{"ports": [{"port": 15000, "endPort": 15010}]}], Level.GOOD),
        ([{"ports": [{"port": 15000, "endPort": 15007}]}], Level.ERROR),
        ([{"ports": [{"protocol": "TCP"}]}], Level.GOOD),
        ([WEB, {"ports": [{"port": 15008, "protocol": "UDP"}]}], Level.ERROR),
        ([WEB | {"from": [SHOP]}, TUNNEL | {"from": [SHOP]}], Level.GOOD),
        ([WEB | {"from": [SHOP]}, TUNNEL | {"from": [BANK]}], Level.ERROR),
        ([WEB | {"from": [SHOP]}, TUNNEL | {"from": [BANK, SHOP]}], Level.GOOD),
        ([WEB, TUNNEL | {"from": [SHOP]}], Level.ERROR),
        # What the mesh does not carry needs no tunnel.
        ([{"ports": [{"port": 53, "protocol": "UDP"}]}], Level.GOOD),
        # Nobody is let in: not a matter of one port.
        ([], Level.WARNING),
    ],
)
def test_rules(rules: list[dict[str, Any]], level: Level) -> None:
    assert _levels(policy("p", *rules)) == [level]


def test_policies_add_up() -> None:
    assert _levels(policy("deny-all"), policy("web", WEB), policy("mesh", TUNNEL)) == [Level.GOOD]


def test_a_named_port_is_the_containers() -> None:
    named = policy("p", {"ports": [{"port": "hbone"}]})
    assert _levels(named, pods=[pod("web", ports={"hbone": 15008})]) == [Level.GOOD]
    assert _levels(named, pods=[pod("web", ports={"hbone": 80})]) == [Level.ERROR]


@pytest.mark.parametrize(
    "irrelevant",
    [
        policy("elsewhere", WEB, place="bank"),
        policy("others", WEB, selector={"matchLabels": {"app": "db"}}),
        policy("others", WEB, selector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
        policy("others", WEB, selector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
        policy("egress", WEB, types=["Egress"]),
    ],
)
def test_what_does_not_select_a_pod_of_the_mesh_is_not_reported(irrelevant: Document) -> None:
    assert _levels(irrelevant) == [Level.GOOD]


def test_pods_outside_the_mesh_are_not_looked_at() -> None:
    outside = [pod("a", "plain"), pod("b") | {"spec": {"hostNetwork": True}}, pod("c", **{"istio.io/dataplane-mode": "none"})]
    assert _levels(policy("p", WEB), policy("q", WEB, place="plain"), pods=outside, spaces=[mesh_namespace(), namespace("plain")]) == [
        Level.GOOD
    ]


def test_one_line_for_the_pods_of_one_policy() -> None:
    (found,) = judge_policies([pod("a"), pod("b"), pod("c")], [mesh_namespace()], [policy("web-only", WEB)])
    assert "shop/web-only" in found.what
    assert "shop/a and 2 more" in found.found
    assert "15008" in found.advice
