from collections.abc import Callable

import pytest

from lab.cluster import Cluster, relabel
from lab.endpoints import virtual_ports
from lab.resolve import with_deletion, with_status

Build = Callable[..., Cluster]
WEB_1 = ("Pod", "default", "web-1")


def backends(cluster: Cluster, node: str = "node1") -> dict[str, list[str]]:
    return {f"{one.address}:{one.port}": list(map(str, one.backends)) for one in virtual_ports(cluster, node)}


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
    assert len(virtual_ports(cluster, "node1")) == 2


def test_session_affinity(build: Build):
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {sessionAffinity: ClientIP, ports: [{port: 1}]}"
    assert all(port.sticky for port in virtual_ports(build(text), "node1"))


def test_a_service_that_publishes_pods_that_are_not_ready(build: Build, web: Cluster):
    cluster = web.resolved(WEB_1, with_status(web.entries[WEB_1].resolved, "Running", ready=False, restarts={}))
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
        "spec: {clusterIP: 10.96.7.7, selector: {app: web}, publishNotReadyAddresses: true, ports: [{port: 1}]}"
    )
    assert backends(build(text, onto=cluster))["10.96.7.7:1"] == ["10.244.1.3:1", "10.244.2.2:1"]


SLICES = """
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIP: 10.96.7.7, ports: [{name: http, port: 80}, {name: other, port: 81}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints:
- {addresses: [192.0.2.1, 192.0.2.9]}
- {addresses: [192.0.2.2], conditions: {ready: false}}
- {addresses: [192.0.2.3], conditions: {ready: true}}
ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-2}
addressType: IPv4
endpoints: [{addresses: [192.0.2.4]}]
ports: [{name: http, port: 8080}]
"""


def test_endpoint_slices_of_a_service_without_a_selector(build: Build):
    assert backends(build(SLICES)) == {"10.96.7.7:80": ["192.0.2.1:8080", "192.0.2.3:8080"], "10.96.7.7:81": []}


def near_and_far(build: Build, web: Cluster, field: str) -> list[list[str]]:
    """Hosts that clients of node1 and node2 are sent to; web-1 runs on node1, web-2 on node2."""
    spec = f"{{clusterIP: 10.96.7.7, selector: {{app: web}}, {field}, ports: [{{port: 1}}]}}"
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {spec}"
    cluster = build(text, onto=web)
    return [backends(cluster, node)["10.96.7.7:1"] for node in ("node1", "node2")]


BOTH = ["10.244.1.3:1", "10.244.2.2:1"]


@pytest.mark.parametrize("field", ["trafficDistribution: PreferSameNode", "internalTrafficPolicy: Local"])
def test_endpoints_of_the_clients_node(build: Build, web: Cluster, field: str):
    assert near_and_far(build, web, field) == [BOTH[:1], BOTH[1:]]


@pytest.mark.parametrize("field", ["trafficDistribution: PreferSameNode", "internalTrafficPolicy: Local"])
def test_only_one_of_both_falls_back_when_there_is_none_on_the_node(build: Build, web: Cluster, field: str):
    cluster = web.resolved(WEB_1, with_status(web.entries[WEB_1].resolved, "Running", ready=False, restarts={}))
    assert near_and_far(build, cluster, field) == [BOTH[1:] if "Prefer" in field else [], BOTH[1:]]


@pytest.mark.parametrize("field", ["trafficDistribution: PreferClose", "trafficDistribution: PreferSameZone"])
def test_endpoints_of_the_clients_zone(build: Build, web: Cluster, field: str):
    assert near_and_far(build, web, field) == [BOTH, BOTH]
    zoned = relabel(web, ("Node", "", "node1"), {"topology.kubernetes.io/zone": "a"})
    assert near_and_far(build, zoned, field) == [BOTH[:1], BOTH]
    together = relabel(zoned, ("Node", "", "node2"), {"topology.kubernetes.io/zone": "a"})
    assert near_and_far(build, together, field) == [BOTH, BOTH]
