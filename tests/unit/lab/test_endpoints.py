from collections.abc import Callable

from lab.cluster import Cluster, relabel
from lab.endpoints import virtual_ports
from lab.resolve import with_deletion, with_status

Build = Callable[..., Cluster]
WEB_1 = ("Pod", "default", "web-1")


def backends(cluster: Cluster) -> dict[str, list[str]]:
    return {f"{one.address}:{one.port}": list(map(str, one.backends)) for one in virtual_ports(cluster)}


def test_each_pod_is_reached_at_the_port_that_it_names(web: Cluster):
    assert backends(web) == {
        "10.96.0.11:80": ["10.244.1.3:8080", "10.244.2.2:8081"],
        "fd00:10:96::b:80": ["[fd00:10:244:1::3]:8080", "[fd00:10:244:2::2]:8081"],
    }


def test_a_pod_that_is_not_ready_gets_nothing(web: Cluster):
    cluster = web.resolved(WEB_1, with_status(web.entries[WEB_1].resolved, "Running", ready=False, restarts={}))
    assert backends(cluster)["10.96.0.11:80"] == ["10.244.2.2:8081"]


def test_a_pod_that_ends_gets_nothing(web: Cluster):
    cluster = web.resolved(WEB_1, with_deletion(web.entries[WEB_1].resolved, "2026-01-01T00:00:00Z"))
    assert backends(cluster)["10.96.0.11:80"] == ["10.244.2.2:8081"]


def test_a_pod_without_the_label_gets_nothing(web: Cluster):
    assert backends(relabel(web, WEB_1, {"app": "other"}))["10.96.0.11:80"] == ["10.244.2.2:8081"]


def test_a_service_without_a_selector_selects_nothing(build: Build, web: Cluster):
    cluster = build("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 1}]}", onto=web)
    assert backends(cluster)["10.96.0.12:1"] == []


def test_a_port_listed_twice_counts_once(build: Build):
    cluster = build("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 1}, {port: 1, targetPort: 2}]}")
    assert len(virtual_ports(cluster)) == 2


def test_session_affinity(build: Build):
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {sessionAffinity: ClientIP, ports: [{port: 1}]}"
    assert all(port.sticky for port in virtual_ports(build(text)))
