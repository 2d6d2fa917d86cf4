"""What `kubectl get events` shows of a pod."""

import datetime as dt

from daemonset.kubernetes.events import event_of
from daemonset.news import Kind, PodNews
from daemonset.pods import PodInfo

WEB = PodInfo("u", "web", "shop", "default")
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 6000, dt.UTC)


def test_an_event_names_pod_node_and_reason() -> None:
    event = event_of(PodNews(WEB, Kind.CAPTURED), "node1", "ambient-x", NOW)
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "u"}
    assert (event["type"], event["reason"], event["reportingInstance"]) == ("Normal", "MeshCaptured", "ambient-x")
    assert event["eventTime"] == "2026-01-02T03:04:05.006000Z"
    assert event["related"]["name"] == "node1"


def test_a_failure_is_a_warning_with_its_reason_and_of_bounded_length() -> None:
    event = event_of(PodNews(WEB, Kind.FAILED, "no room" * 1000), "node1", "ambient-x", NOW)
    assert (event["type"], event["reason"]) == ("Warning", "MeshCaptureFailed")
    assert event["note"].startswith("no room")
    assert len(event["note"]) <= 1024
