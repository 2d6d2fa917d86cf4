"""Each thing that is in the way of the mesh is one line that says what to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.check.cluster import DEFINITIONS, QUESTIONS, judge_cluster
from cli.check.facts import Facts
from cli.check.findings import Finding, Level
from tests.unit.cli.check.documents import SYSTEM, VERSION, Document, daemonset, namespace, node

SOUND = Facts(
    SYSTEM,
    VERSION,
    "ebpf",
    server={"gitVersion": "v1.33.2"},
    clock_s=0.2,
    allowed=dict.fromkeys(QUESTIONS, True),
    lists={
        "nodes": [node("node1"), node("node2")],
        "namespaces": [namespace("default")],
        "daemonsets": [],
        "customresourcedefinitions": [],
    },
)


def _wrong(facts: Facts) -> list[Finding]:
    return [one for one in judge_cluster(facts) if one.level is not Level.GOOD]


def _with(kind: str, *documents: Document) -> Facts:
    return replace(SOUND, lists={**SOUND.lists, kind: list(documents)})


def _definition(name: str, *versions: str, ours: bool = True) -> Document:
    labels = {"app.kubernetes.io/part-of": "ambient-mesh"} if ours else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"versions": [{"name": one, "served": True} for one in versions]}}


def test_a_sound_cluster() -> None:
    assert _wrong(SOUND) == []


def test_without_the_api_server_there_is_one_condition() -> None:
    (found,) = judge_cluster(Facts(SYSTEM, VERSION, "ebpf", unreached="connection refused"))
    assert found.level is Level.ERROR
    assert "connection refused" in found.found


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        (replace(SOUND, server={"gitVersion": "v1.27.16"}), Level.ERROR, "1.28"),
        (replace(SOUND, server={"gitVersion": "nonsense"}), Level.ERROR, "nonsense"),
        (replace(SOUND, clock_s=3600.0), Level.ERROR, "3600 s ahead of"),
        (replace(SOUND, clock_s=-3600.0), Level.ERROR, "3600 s behind"),
        (replace(SOUND, clock_s=None), Level.WARNING, "clock"),
        (replace(SOUND, allowed=SOUND.allowed | {QUESTIONS[0]: False}), Level.ERROR, "create configmaps"),
        (replace(SOUND, missing={"pods": "403 Forbidden: no"}), Level.WARNING, "403 Forbidden"),
        (_with("nodes", node("old", "5.10.0-28-amd64")), Level.ERROR, "--set agent.capture=iptables"),
        (_with("nodes", node("older", "4.4.0")), Level.ERROR, "upgrade to 5.17"),
        (_with("nodes", node("odd", architecture="s390x")), Level.ERROR, "s390x"),
        (_with("nodes", node("new", ready=False)), Level.ERROR, "cni plugin not initialized"),
        (_with("customresourcedefinitions", _definition("serviceentries.networking.istio.io", "v1alpha2")), Level.ERROR, "v1alpha3"),
        (_with("customresourcedefinitions", _definition("serviceentries.networking.istio.io", "v1")), Level.WARNING, "missing"),
        (
            _with("daemonsets", daemonset() | {"metadata": {"name": "ztunnel", "namespace": "istio-system"}}),
            Level.ERROR,
            "istio-system/ztunnel",
        ),
        (
            _with("configmaps", {"metadata": {"name": "cilium-config"}, "data": {"cni-exclusive": "true"}}),
            Level.ERROR,
            "cni.exclusive=false",
        ),
        (_with("configmaps", {"metadata": {"name": "cilium-config"}, "data": {"cni-exclusive": "false"}}), Level.GOOD, ""),
    ],
)
def test_what_is_in_the_way(facts: Facts, level: Level, said: str) -> None:
    wrong = _wrong(facts)
    assert [one.level for one in wrong] == ([] if level is Level.GOOD else [level])
    assert all(said in f"{one.what} {one.found} {one.advice}" and one.advice for one in wrong)


@pytest.mark.parametrize(("renewed_s", "said"), [(0, None), (-40, None), (20, None), (3600, "3600 s ahead of"), (-3600, "3600 s behind")])
def test_the_clock_of_a_node(renewed_s: int, said: str | None) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lease = {"metadata": {"name": "cn1"}, "spec": {"renewTime": (now + timedelta(seconds=renewed_s)).isoformat().replace("+00:00", "Z")}}
    wrong = _wrong(replace(SOUND, now_s=now.timestamp(), lists={**SOUND.lists, "nodes": [node("cn1")], "leases": [lease]}))
    assert [(one.what, one.found) for one in wrong] == ([("node cn1", f"its clock is {said} the API server's")] if said else [])


def test_a_full_disk() -> None:
    full: dict[str, Any] = node("full")
    full["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})
    (found,) = _wrong(_with("nodes", full))
    assert "DiskPressure" in found.found


def test_pod_security_that_keeps_agents_out() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    (found,) = _wrong(_with("namespaces", {"metadata": {"name": SYSTEM, "labels": labels}}))
    assert "enforce=privileged" in found.advice


def test_iptables_needs_less_of_the_kernel() -> None:
    assert _wrong(replace(_with("nodes", node("old", "5.10.0-28-amd64")), capture="iptables")) == []


def test_nodes_of_other_systems_are_not_ours() -> None:
    windows: dict[str, Any] = node("win", "10.0.20348")
    windows["status"]["nodeInfo"]["operatingSystem"] = "windows"
    assert _wrong(_with("nodes", node("node1"), windows)) == []


def test_definitions_of_others_are_left_alone() -> None:
    foreign = [_definition(name, *versions, ours=False) for name, versions in DEFINITIONS.items()]
    (found,) = (one for one in judge_cluster(_with("customresourcedefinitions", *foreign)) if one.what == "custom resources")
    assert (found.level, "4 of them not ours" in found.found) == (Level.GOOD, True)
