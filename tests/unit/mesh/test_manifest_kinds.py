"""Manifests of nodes, endpoint slices, entries and policies: what is read by which API version, and what is refused."""

from ipaddress import IPv4Address

import pytest

from mesh.catalogue.changes import ObjectKey
from mesh.errors import ConfigErrors
from mesh.kubernetes import EndpointSlice, ServiceEntry, WorkloadEntry
from mesh.manifests import parse_manifests

SLICE = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n"
ENTRY = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n"
MACHINE = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, env: [{name: A, value: b}]}]}\n"


@pytest.mark.parametrize(
    ("version", "kind", "rest"),
    [
        ("v1", "Node", ""),
        ("discovery.k8s.io/v1", "EndpointSlice", "addressType: IPv6"),
        ("networking.istio.io/v1", "ServiceEntry", "spec: {hosts: [a.example]}"),
        ("networking.istio.io/v1beta1", "ServiceEntry", "spec: {hosts: [a.example]}"),
        ("networking.istio.io/v1alpha3", "WorkloadEntry", "spec: {}"),
        ("security.istio.io/v1", "AuthorizationPolicy", ""),
        ("security.istio.io/v1beta1", "PeerAuthentication", ""),
    ],
)
def test_kinds_by_their_versions(version: str, kind: str, rest: str) -> None:
    document = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n{rest}\n"
    namespace = "" if kind == "Node" else "default"
    assert ObjectKey(kind, namespace, "a") in parse_manifests({"f.yaml": document}).objects
    foreign = parse_manifests({"f.yaml": document.replace(version, "example.com/v1")})
    assert foreign.ignored == (f"f.yaml:1:{kind}",)


def test_a_list_of_one_kind_implies_its_version() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntryList\nitems: [{metadata: {name: a}, spec: {address: 192.0.2.1}}]\n"
    entry = parse_manifests({"f.yaml": text}).objects[ObjectKey("WorkloadEntry", "default", "a")]
    assert isinstance(entry, WorkloadEntry)
    assert entry.spec.address == IPv4Address("192.0.2.1")


def test_what_stands_in_for_what_is_not_said() -> None:
    objects = parse_manifests(
        {"f.yaml": f"{SLICE}endpoints: [{{addresses: [10.0.0.1]}}]\n---\n{ENTRY}spec: {{hosts: [a.example]}}\n"}
    ).objects
    slice_, entry = objects[ObjectKey("EndpointSlice", "default", "a")], objects[ObjectKey("ServiceEntry", "default", "a")]
    assert isinstance(slice_, EndpointSlice)
    assert isinstance(entry, ServiceEntry)
    assert slice_.endpoints[0].conditions.ready is None
    assert (entry.spec.resolution, entry.spec.location) == ("NONE", "MESH_EXTERNAL")


def test_equal_parts_of_pods_are_one_object() -> None:
    pods = parse_manifests({"f.yaml": f"{POD % 'a'}---\n{POD % 'b'}"}).pods
    assert pods["default/a"].spec.containers is pods["default/b"].spec.containers


ADDRESS = "an IPv4 or IPv6 address, or a DNS name"
HOST = "a DNS name, its first label maybe '*'"


@pytest.mark.parametrize(
    ("document", "path", "value", "expected"),
    [
        (f"{SLICE}endpoints: [{{addresses: [10.0.0.256]}}]", "endpoints.0.addresses.0", "10.0.0.256", ADDRESS),
        (f"{SLICE}endpoints: [{{addresses: 10.0.0.1}}]", "endpoints.0.addresses", "10.0.0.1", "a valid list"),
        (f"{SLICE}endpoints: [{{conditions: {{ready: 'yes'}}}}]", "endpoints.0.conditions.ready", "yes", "a valid boolean"),
        (f"{SLICE}ports: [{{port: 0}}]", "ports.0.port", 0, "greater than or equal to 1"),
        (f"{ENTRY}spec: {{}}", "spec.hosts", None, "a value"),
        (f"{ENTRY}spec: {{hosts: []}}", "spec.hosts", "a list of 0", "at least one entry"),
        (f"{ENTRY}spec: {{hosts: ['*']}}", "spec.hosts.0", "*", HOST),
        (f"{ENTRY}spec: {{hosts: [a/b]}}", "spec.hosts.0", "a/b", HOST),
        (
            f"{ENTRY}spec: {{hosts: [a], addresses: [a.example]}}",
            "spec.addresses.0",
            "a.example",
            "an IPv4 or IPv6 address or network (CIDR)",
        ),
        (f"{ENTRY}spec: {{hosts: [a], ports: [{{number: 0}}]}}", "spec.ports.0.number", 0, "greater than or equal to 1"),
        (f"{ENTRY}spec: {{hosts: [a], endpoints: [{{address: 'unix:///x'}}]}}", "spec.endpoints.0.address", "unix:///x", ADDRESS),
        (f"{ENTRY}spec: {{hosts: [a], subjectAltNames: [a b]}}", "spec.subjectAltNames.0", "a b", None),
        (f"{MACHINE}spec: {{locality: a/b/c/d}}", "spec.locality", "a/b/c/d", "region, region/zone or region/zone/subzone"),
        (f"{MACHINE}spec: {{weight: -1}}", "spec.weight", -1, "greater than or equal to 0"),
        (f"{MACHINE}spec: {{network: a b}}", "spec.network", "a b", None),
        (
            f"{SERVICE}spec: {{sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 86401}}}}}}",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            86401,
            "less than or equal to 86400",
        ),
        (f"{SERVICE}spec: {{internalTrafficPolicy: local}}", "spec.internalTrafficPolicy", "local", "'Cluster' or 'Local'"),
    ],
)
def test_wrong_values(document: str, path: str, value: object, expected: str | None) -> None:
    with pytest.raises(ConfigErrors) as wrong:
        parse_manifests({"f.yaml": document})
    [error] = wrong.value.errors
    assert (error.key, error.value) == (f"f.yaml:1:{path}", value)
    assert expected is None or error.expected == expected
