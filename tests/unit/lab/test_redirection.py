"""Pods are announced as captured when their agent says so, and as long as their labels ask for it."""

from lab.cluster import Cluster, apply, empty_cluster, relabel
from lab.documents import read_given
from lab.redirection import announce, unannounced
from lab.status import AgentPod
from mesh.enrolment import AMBIENT, MODE_LABEL, REDIRECTED, REDIRECTION_ANNOTATION

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}}
spec: {containers: [{name: c, command: [sleep, "1"]}]}
"""


def cluster(label: str | None) -> Cluster:
    given = apply(empty_cluster(("node1",)), read_given({"a.yaml": MANIFEST}), lambda: "uid-a")
    return relabel(given, ("Namespace", "default", "default"), {MODE_LABEL: label})


def annotation(of: Cluster) -> str | None:
    return of.pods()["default", "a"].metadata.annotations.get(REDIRECTION_ANNOTATION)


def test_a_captured_pod_is_announced_and_nothing_is_changed_twice() -> None:
    labelled = cluster(AMBIENT)
    assert unannounced(labelled)
    announced = announce(labelled, {"uid-a": AgentPod(captured=True, error="")})
    assert annotation(announced) == REDIRECTED
    assert not unannounced(announced)
    assert announce(announced, {"uid-a": AgentPod(captured=True, error="")}) is announced


def test_a_pod_whose_agent_says_nothing_keeps_what_it_has() -> None:
    assert annotation(announce(cluster(AMBIENT), {})) is None
    announced = announce(cluster(AMBIENT), {"uid-a": AgentPod(captured=True, error="")})
    assert announce(announced, {}) is announced


def test_a_pod_that_its_agent_lost_is_not_announced() -> None:
    announced = announce(cluster(AMBIENT), {"uid-a": AgentPod(captured=True, error="")})
    assert annotation(announce(announced, {"uid-a": AgentPod(captured=False, error="broken")})) is None


def test_without_the_label_the_announcement_goes_whatever_the_agent_says() -> None:
    announced = announce(cluster(AMBIENT), {"uid-a": AgentPod(captured=True, error="")})
    released = relabel(announced, ("Namespace", "default", "default"), {MODE_LABEL: None})
    assert unannounced(released)
    assert annotation(announce(released, {"uid-a": AgentPod(captured=True, error="")})) is None
