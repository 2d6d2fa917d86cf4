"""An object that anybody may write in a namespace of his own draws no connections that are meant for pods and Services of others."""

from itertools import permutations

import pytest

from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.kubernetes import Object, ServiceEntry
from mesh.manifests import parse_manifests
from mesh.model import TunnelProtocol
from mesh.settings import MeshSettings

NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: aaa}
---
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: n, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
"""
THIEF = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: thief, namespace: aaa}
spec:
  hosts: [thief.example]
  addresses: [10.0.0.1, 10.96.0.1, "fd00::1", 192.0.2.1]
  resolution: NONE
  ports: [{number: 80, name: tcp}]
"""
OWN = ["192.0.2.1"]


def objects(text: str) -> dict[ObjectKey, Object]:
    return dict(parse_manifests({"f.yaml": NAMESPACES + text}).objects)


def addresses(catalogue: Catalogue) -> list[str]:
    return [str(ip) for ip in catalogue.services["aaa/thief.example"].addresses]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_service_entry_has_neither_a_pods_address_nor_a_services(order: tuple[int, ...]) -> None:
    everything = objects(POD + SERVICE + THIEF)
    parts = [next(key for key in everything if key.kind == kind) for kind in ("Pod", "Service", "ServiceEntry")]
    catalogue = Catalogue(MeshSettings())
    for position in order:
        catalogue.apply([ObjectChange(parts[position], everything[parts[position]])])
    assert addresses(catalogue) == OWN


def test_an_address_that_a_pod_gives_up_is_the_entrys_until_another_pod_has_it() -> None:
    everything = objects(POD + SERVICE + THIEF)
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(ObjectChange(key, value) for key, value in everything.items())
    pod = next(key for key in everything if key.kind == "Pod")
    delta = catalogue.apply([ObjectChange(pod, None)])
    assert "aaa/thief.example" in delta.services
    assert addresses(catalogue) == ["10.0.0.1", "fd00::1", *OWN]
    delta = catalogue.apply([ObjectChange(pod, everything[pod])])
    assert "aaa/thief.example" in delta.services
    assert addresses(catalogue) == OWN


def test_the_address_of_a_node_that_runs_a_pod_on_its_network_is_nobodys_to_take() -> None:
    on_node = POD.replace("{nodeName: n,", "{nodeName: n, hostNetwork: true,")
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(ObjectChange(key, value) for key, value in objects(on_node + THIEF).items())
    assert addresses(catalogue) == ["10.96.0.1", *OWN]


def test_an_address_that_two_pods_have_for_a_moment_is_kept_until_both_are_gone() -> None:
    everything = objects(POD + THIEF)
    pod = next(key for key in everything if key.kind == "Pod")
    successor = pod._replace(name="next")
    metadata = everything[pod].metadata.model_copy(update={"name": "next"})
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(ObjectChange(key, value) for key, value in everything.items())
    catalogue.apply([ObjectChange(successor, everything[pod].model_copy(update={"metadata": metadata}))])
    catalogue.apply([ObjectChange(pod, None)])
    assert "10.0.0.1" not in addresses(catalogue)
    catalogue.apply([ObjectChange(successor, None)])
    assert "10.0.0.1" in addresses(catalogue)


MACHINE = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: thief
  namespace: aaa
  labels: {istio.io/dataplane-mode: ambient}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: 10.0.0.1}
"""


def test_nobody_expects_a_tunnel_to_a_machine_where_a_pod_is() -> None:
    """A pod on the node's network has no name by its address: the machine would be all that peers know of it, and be dialled in vain."""
    everything = objects(POD.replace("{nodeName: n,", "{nodeName: n, hostNetwork: true,") + MACHINE)
    pod = next(key for key in everything if key.kind == "Pod")
    catalogue = Catalogue(MeshSettings())

    def protocol() -> TunnelProtocol:
        return catalogue.workloads["Kubernetes/networking.istio.io/WorkloadEntry/aaa/thief"].tunnel_protocol

    catalogue.apply(ObjectChange(key, value) for key, value in everything.items() if key != pod)
    assert protocol() is TunnelProtocol.HBONE
    catalogue.apply([ObjectChange(pod, everything[pod])])
    assert protocol() is TunnelProtocol.NONE
    catalogue.apply([ObjectChange(pod, None)])
    assert protocol() is TunnelProtocol.HBONE


def entry(namespace: str, created: str) -> ServiceEntry:
    metadata = {"name": "vip", "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    spec = {"hosts": [f"{namespace}.example"], "addresses": ["192.0.2.1"], "ports": [{"number": 80}]}
    return ServiceEntry.model_validate({"metadata": metadata, "spec": spec})


@pytest.mark.parametrize("last", ["aaa", "shop"])
@pytest.mark.parametrize("mine", ["2024-01-01T00:00:00Z", ""])
def test_nobody_takes_anothers_address_by_a_name_that_comes_first(last: str, mine: str) -> None:
    entries = {"aaa": entry("aaa", mine), "shop": entry("shop", "2023-01-01T00:00:00Z")}
    catalogue = Catalogue(MeshSettings())
    for namespace in sorted(entries, key=lambda one: one == last):
        catalogue.apply([ObjectChange(ObjectKey("ServiceEntry", namespace, "vip"), entries[namespace])])
    owned = {service.hostname: len(service.addresses) for service in catalogue.services.values()}
    assert owned == {"aaa.example": 0, "shop.example": 1}
    made_anew = entry("shop", "2025-01-01T00:00:00Z")
    catalogue.apply([ObjectChange(ObjectKey("ServiceEntry", "shop", "vip"), made_anew)])
    owned = {service.hostname: len(service.addresses) for service in catalogue.services.values()}
    assert owned == ({"aaa.example": 1, "shop.example": 0} if mine else {"aaa.example": 0, "shop.example": 1})
