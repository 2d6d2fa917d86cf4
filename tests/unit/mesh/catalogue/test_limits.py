"""What one namespace writes too much of: the nodes accept what comes of it, and no policy is lost by it."""

from ipaddress import ip_address

import pytest

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.kubernetes import AuthorizationPolicy, Object, Pod, Service, ServiceEntry
from mesh.limits import MAX_POLICIES, MAX_PORTS, MAX_SERVICES
from mesh.model import SocketAddress, Workload
from mesh.policy.evaluation import Grounds, PolicyBook
from mesh.policy.model import Connection
from mesh.settings import MeshSettings
from mesh.wire.convert import service_from_wire, service_to_wire, workload_from_wire, workload_to_wire

LABELS = {"app": "web"}
ROOT = "istio-system"


def catalogue_of(*objects: Object) -> Catalogue:
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(ObjectChange(ObjectKey(type(one).__name__, one.metadata.namespace, one.metadata.name), one) for one in objects)
    return catalogue


def pod() -> Pod:
    return Pod.model_validate(
        {
            "metadata": {"name": "web", "namespace": "shop", "labels": LABELS},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        }
    )


def deny(name: str, namespace: str) -> AuthorizationPolicy:
    spec = {"selector": {"matchLabels": LABELS}, "action": "DENY", "rules": [{}]}
    return AuthorizationPolicy.model_validate({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def allow(number: int) -> AuthorizationPolicy:
    spec = {"selector": {"matchLabels": LABELS}, "rules": [{}]}
    return AuthorizationPolicy.model_validate({"metadata": {"name": f"a{number}", "namespace": "shop"}, "spec": spec})


def accepted(catalogue: Catalogue) -> Workload:
    """Returns the pod as a node reads it, and has the node read all services."""
    for service in catalogue.services.values():
        assert service_from_wire(service_to_wire(service)) == service
    (workload,) = catalogue.workloads.values()
    assert workload_from_wire(workload_to_wire(workload), "cluster.local") == workload
    return workload


def test_more_policies_than_a_node_takes_of_one_pod_let_nobody_in() -> None:
    catalogue = catalogue_of(pod(), *(allow(number) for number in range(MAX_POLICIES)), deny("no", ROOT))
    workload = accepted(catalogue)
    book = PolicyBook("cluster.local")
    for policy in catalogue.policies.values():
        book.put(policy)
    connection = Connection(SocketAddress(ip_address("10.0.0.9"), 0), None, SocketAddress(ip_address("10.0.0.1"), 80))
    ruling = book.decide(connection, "shop", workload.policies)
    assert (ruling.allowed, ruling.reason) == (False, Grounds.NOT_HELD)
    delta = catalogue.apply([ObjectChange(ObjectKey("AuthorizationPolicy", "shop", f"a{number}"), None) for number in range(2)])
    assert delta.workloads
    assert len(accepted(catalogue).policies) == MAX_POLICIES - 1


def ports(number: int) -> list[dict[str, object]]:
    return [{"port": port, "name": f"p{port}", "number": port} for port in range(1, number + 1)]


@pytest.mark.parametrize("number", [MAX_PORTS, MAX_PORTS + 1])
def test_a_service_has_as_many_ports_as_nodes_take(number: int) -> None:
    spec = {"selector": LABELS, "clusterIP": "10.96.0.1", "ports": ports(number)}
    service = Service.model_validate({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    workload = accepted(catalogue_of(pod(), service))
    assert [len(mappings) for mappings in workload.services.values()] == [MAX_PORTS]


def test_a_service_entry_has_as_many_ports_as_nodes_take() -> None:
    spec = {"hosts": ["a.example"], "resolution": "STATIC", "workloadSelector": {"labels": LABELS}, "ports": ports(MAX_PORTS + 1)}
    entry = ServiceEntry.model_validate({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    assert len(accepted(catalogue_of(pod(), entry)).services) == 1


def test_a_pod_backs_as_many_services_as_nodes_take() -> None:
    hosts = [f"h{number}.example" for number in range(MAX_SERVICES + 1)]
    spec = {"hosts": hosts, "resolution": "STATIC", "workloadSelector": {"labels": LABELS}, "ports": ports(1)}
    entry = ServiceEntry.model_validate({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    assert len(accepted(catalogue_of(pod(), entry, deny("no", ROOT))).services) == MAX_SERVICES
