"""How an installed mesh does."""

from dataclasses import replace

import pytest

from cli.check.facts import Facts
from cli.check.findings import Finding, Level
from cli.check.release import QUESTIONS, capture_of, installed, judge_release, unready_containers
from tests.unit.cli.check.documents import SYSTEM, VERSION, Document, daemonset, deployment, mesh_namespace, own_pod, pod

SOUND = Facts(
    SYSTEM,
    VERSION,
    "ebpf",
    lists={
        "daemonsets": [daemonset()],
        "deployments": [deployment()],
        "namespaces": [mesh_namespace()],
        "pods": [own_pod("ambient-x"), own_pod("cp-x", "ambient-controlplane"), pod("web")],
    },
)
WAITING = {"name": "agent", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 78}}}


def _wrong(facts: Facts) -> list[Finding]:
    return [one for one in judge_release(facts) if one.level is not Level.GOOD]


def _with(kind: str, *documents: Document) -> Facts:
    return replace(SOUND, lists={**SOUND.lists, kind: list(documents)})


def test_a_sound_mesh() -> None:
    assert installed(SOUND)
    assert _wrong(SOUND) == []


def test_none_is_installed() -> None:
    assert not installed(replace(SOUND, lists={"daemonsets": [], "deployments": []}))


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        (_with("daemonsets", daemonset(ready=1)), Level.ERROR, "1 of 2 ready"),
        (_with("daemonsets", daemonset(updated=1)), Level.WARNING, "1 of 2 are of the newest"),
        (_with("daemonsets"), Level.ERROR, "there is no daemonset ambient"),
        (_with("deployments", deployment(ready=0)), Level.ERROR, "0 of 2 ready"),
        (_with("pods", own_pod("ambient-x", "ambient", VERSION, WAITING)), Level.ERROR, "CrashLoopBackOff: ended with 78"),
        (_with("pods", own_pod("ambient-x", version="0.2.0")), Level.WARNING, "1 of 0.2.0"),
        (_with("pods", own_pod("ambient-x", version="0.3.0")), Level.ERROR, "1 of 0.3.0"),
        (_with("pods", own_pod("ambient-x", version="1.1.0")), Level.ERROR, "1 of 1.1.0"),
        (_with("pods", pod("web", captured=False), pod("db")), Level.ERROR, "1 of 2 not captured: shop/web"),
    ],
)
def test_what_is_not_well(facts: Facts, level: Level, said: str) -> None:
    (found,) = _wrong(facts)
    assert found.level is level
    assert said in found.found
    assert found.advice


def test_a_pod_that_finds_no_node() -> None:
    waiting = own_pod("ambient-x")
    del waiting["spec"]["nodeName"]
    waiting["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]
    (found,) = _wrong(_with("pods", waiting))
    assert "0/2 nodes are available" in found.found


def test_events_say_what_a_state_does_not() -> None:
    creating = {"name": "ztunnel", "state": {"waiting": {"reason": "ContainerCreating"}}}
    said = [("BackOff", "back-off 10s", "3"), ("FailedMount", 'configmap "istio-ca-root-cert" not found', "2"), ("FailedMount", "old", "1")]
    events = [
        {"involvedObject": {"name": "ambient-x"}, "reason": reason, "message": message, "lastTimestamp": time}
        for reason, message, time in said
    ]
    facts = _with("pods", own_pod("ambient-x", "ambient", VERSION, creating))
    (found,) = _wrong(replace(facts, lists={**facts.lists, "events": events}))
    assert found.found == 'on node1: ztunnel: ContainerCreating; configmap "istio-ca-root-cert" not found'
    assert "describe pod" in found.advice


@pytest.mark.parametrize(
    "complaint",
    [
        "timestamp='x' level='error' event='authority_not_read' error='away'",
        "2026-01-01T00:00:00Z\twarning\tzds\tagent away\tfailures=3",
        '{"level": "error", "event": "x"}',
        "NODE_NAME: None: expected the name of this node",
    ],
)
def test_the_log_says_why_a_container_is_not_ready(complaint: str) -> None:
    running = {"name": "agent", "ready": False, "state": {"running": {}}}
    facts = _with("pods", own_pod("ambient-x", "ambient", VERSION, running))
    assert list(unready_containers(facts)) == [("ambient-x", "agent", False)]
    lines = ["level='info' event='starts'", complaint, "level='info' event='goes on'", ""]
    (found,) = _wrong(replace(facts, logs={("ambient-x", "agent"): lines}))
    assert found.found == f"on node1: agent: not ready: {complaint}"
    assert "logs ambient-x" in found.advice


def test_logs_are_those_of_before_the_crash() -> None:
    crashed = WAITING | {"ready": False}
    ready = {"name": "ztunnel", "ready": True, "state": {"running": {}}}
    creating = {"name": "other", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
    facts = _with("pods", own_pod("ambient-x", "ambient", VERSION, crashed, ready, creating))
    assert list(unready_containers(facts)) == [("ambient-x", "agent", True)]


def test_an_account_that_lost_a_permission() -> None:
    denied = QUESTIONS[0]
    facts = replace(SOUND, allowed=dict.fromkeys(QUESTIONS, True) | {denied: False})
    (found,) = _wrong(facts)
    assert (found.what, found.found) == ("account ambient-controlplane", "may not list namespaces")


def test_capture_is_the_installed_one() -> None:
    assert capture_of(_with("daemonsets", daemonset(capture="iptables"))).capture == "iptables"
    assert capture_of(_with("daemonsets")).capture == "ebpf"
