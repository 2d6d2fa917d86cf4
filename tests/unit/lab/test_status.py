import json
from dataclasses import replace

import pytest

from lab.cluster import Cluster, relabel
from lab.observing import read_agent_pods
from lab.resolve import with_deletion, with_status
from lab.status import AgentPod, Observed, describe

WEB_1 = ("Pod", "default", "web-1")
NO_MESH = Observed(mesh=False, programs={}, agent_pods={})


def uid(cluster: Cluster, name: str) -> str:
    return cluster.pods()["default", name].metadata.uid


def labelled(cluster: Cluster) -> Cluster:
    return relabel(cluster, ("Namespace", "default", "default"), {"istio.io/dataplane-mode": "ambient"})


def meshed(cluster: Cluster, *names: str, error: str = "") -> Observed:
    pods = {uid(cluster, name): AgentPod(captured=not error, error=error) for name in names}
    return Observed(mesh=True, programs={"controlplane": True}, agent_pods=pods)


def state(cluster: Cluster, observed: Observed) -> dict[str, str]:
    return {pod["name"]: pod["mesh"] for pod in describe(cluster, observed)["pods"]}


def test_a_ready_lab_has_nothing_pending(web: Cluster):
    document = describe(web, NO_MESH)
    assert document["pending"] == []
    assert document["services"][0]["endpoints"][:2] == ["10.244.1.3:8080", "10.244.2.2:8081"]
    assert document["pods"][0]["identity"] == "spiffe://cluster.local/ns/default/sa/default"
    assert json.loads(json.dumps(document)) == document


def test_labelled_pods_are_pending_until_the_agent_has_verified_them(web: Cluster):
    cluster = labelled(web)
    observed = meshed(cluster, "client", "web-1")
    assert state(cluster, observed) == {"client": "captured", "web-1": "captured", "web-2": "waiting"}
    (pending,) = describe(cluster, observed)["pending"]
    assert pending == {"kind": "capture of pod", "name": "default/web-2", "node": "node2", "reason": "not captured yet"}
    assert describe(cluster, meshed(cluster, "client", "web-1", "web-2"))["pending"] == []


def test_what_the_agent_says_is_the_reason(web: Cluster):
    cluster = labelled(web)
    observed = meshed(cluster, "client", "web-1", "web-2", error="no sk_lookup")
    assert state(cluster, observed)["client"] == "waiting: no sk_lookup"
    assert {one["reason"] for one in describe(cluster, observed)["pending"]} == {"no sk_lookup"}


def test_pods_that_are_to_leave_are_pending_until_they_have_left(web: Cluster):
    observed = meshed(web, "client")
    assert state(web, observed)["client"] == "leaving"
    assert [one["reason"] for one in describe(web, observed)["pending"]] == ["still captured"]


def test_without_the_mesh_no_label_is_waited_for(web: Cluster):
    assert describe(labelled(web), NO_MESH)["pending"] == []


def test_programs_that_are_not_ready_are_pending(web: Cluster):
    observed = Observed(mesh=True, programs={"controlplane": True, "ztunnel of node1": False}, agent_pods={})
    assert [one["name"] for one in describe(web, observed)["pending"]] == ["ztunnel of node1"]


def test_nobody_waits_for_a_program_that_was_stopped(web: Cluster):
    observed = Observed(mesh=True, programs={"controlplane": False}, agent_pods={}, stopped=frozenset({"controlplane"}))
    document = describe(web, observed)
    assert (document["pending"], document["stopped"]) == ([], ["controlplane"])


def test_policies_are_shown_as_the_control_plane_has_them(web: Cluster):
    policy = {"kind": "PeerAuthentication", "namespace": "default", "name": "a", "conditions": []}
    assert describe(web, replace(NO_MESH, policies=(policy,)))["policies"] == [policy]


def test_identities_are_of_the_labs_trust_domain(web: Cluster):
    document = describe(web, replace(NO_MESH, trust_domain="mesh.example"))
    assert document["pods"][0]["identity"] == "spiffe://mesh.example/ns/default/sa/default"


@pytest.mark.parametrize(
    ("phase", "ready", "pending"), [("Running", True, 0), ("Running", False, 1), ("Pending", False, 1), ("Succeeded", False, 0)]
)
def test_pods_are_waited_for_unless_they_are_done(web: Cluster, phase: str, ready: bool, pending: int):
    cluster = web.resolved(WEB_1, with_status(web.entries[WEB_1].resolved, phase, ready=ready, restarts={"main": 3}))
    document = describe(cluster, NO_MESH)
    assert len(document["pending"]) == pending
    assert document["pods"][1]["restarts"] == 3


def test_a_pod_that_ends_is_waited_for(web: Cluster):
    cluster = web.resolved(WEB_1, with_deletion(web.entries[WEB_1].resolved, "2026-01-01T00:00:00Z"))
    assert [one["reason"] for one in describe(cluster, NO_MESH)["pending"]] == ["it is ending"]


def test_what_an_agent_answers_is_read():
    body = b'[{"uid": "u", "namespace": "default", "name": "a", "captured": true, "error": null}]'
    assert dict(read_agent_pods(body)) == {"u": AgentPod(captured=True, error="")}
