"""Manifests, hostile: any text is read or refused with ConfigErrors, whole and cut anywhere."""

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.catalogue.catalogue import Catalogue
from mesh.errors import ConfigErrors
from mesh.manifests import Manifests, parse_manifests
from mesh.settings import MeshSettings
from mesh.wire.convert import service_from_wire, service_to_wire, workload_from_wire, workload_to_wire
from tests.unit.mesh.catalogue.objects import changes_between, kinds

words = st.sampled_from(
    [
        "a",
        "shop",
        "default",
        "None",
        "",
        "yes",
        "7",
        "-1",
        "1e9",
        "~",
        "*x",
        "&x [b]",
        "<<",
        "!!int x",
        "10.0.0.1",
        "fd00::1",
        "..",
        "Running",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats() | words | st.text(max_size=8)
KEYS = """apiVersion kind metadata name namespace labels annotations uid spec status items containers command args env value ports
    containerPort nodeName serviceAccountName hostNetwork selector clusterIP clusterIPs port targetPort protocol type podIP podIPs ip
    phase conditions addresses addressType endpoints targetRef nodeName zone hosts resolution number network locality weight
    workloadSelector exportTo subjectAltNames address matchLabels rules action mtls portLevelMtls sessionAffinityConfig clientIP
    timeoutSeconds trafficDistribution internalTrafficPolicy"""
keys = st.sampled_from(KEYS.split())
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | words, inner, max_size=5), max_leaves=25)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """Something like a Kubernetes object: the right kind and version, the rest right, wrong or missing."""
    kind = draw(st.sampled_from(["Namespace", "Pod", "Service", "ServiceAccount", "List", "PodList"]))
    name = draw(st.sampled_from(["a", "b", "web"]))
    metadata = {"name": name, "namespace": draw(st.sampled_from(["default", "shop"])), **draw(st.dictionaries(keys, trees, max_size=1))}
    container = {"name": "c", "ports": [{"containerPort": 80, "name": "http"}], **draw(st.dictionaries(keys, trees, max_size=1))}
    spec = {
        "containers": [container],
        "nodeName": "n",
        "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": draw(scalars)}],
        **draw(st.dictionaries(keys, trees, max_size=1)),
    }
    status = {"phase": "Running", "podIP": f"10.0.0.{draw(st.integers(0, 255))}", **draw(st.dictionaries(keys, trees, max_size=1))}
    whole = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
        "status": status,
        "items": draw(st.lists(trees, max_size=2)),
    }
    return {**whole, **draw(st.dictionaries(keys, trees, max_size=1))}


VERSIONS = {
    "EndpointSlice": "discovery.k8s.io/v1",
    "ServiceEntry": "networking.istio.io/v1",
    "WorkloadEntry": "networking.istio.io/v1alpha3",
    "AuthorizationPolicy": "security.istio.io/v1",
    "PeerAuthentication": "security.istio.io/v1beta1",
}


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """An object of any kind, right save for one value somewhere in it."""
    kind, strategy = draw(st.sampled_from(kinds))
    whole = {"apiVersion": VERSIONS.get(kind.__name__, "v1"), "kind": kind.__name__, **copy.deepcopy(draw(strategy))}
    at: Any = whole
    while draw(st.booleans()) and (inner := [key for key, value in _items(at) if isinstance(value, (dict, list)) and value]):
        at = at[draw(st.sampled_from(inner))]
    key = draw(st.sampled_from([key for key, _ in _items(at)]))
    at[key] = draw(trees)
    return whole


def _items(tree: Any) -> list[tuple[Any, Any]]:
    return list(tree.items() if isinstance(tree, dict) else enumerate(tree))


def read(*texts: str) -> Manifests | None:
    """Lets through what a reader may not raise."""
    try:
        return parse_manifests({f"{number}.yaml": text for number, text in enumerate(texts)})
    except ConfigErrors as errors:
        found = errors.errors
    assert found
    for error in found:
        assert error.key.split(":")[0].endswith(".yaml")
        assert error.expected
        assert len(str(error)) < 2000
    return None


@given(st.text())
@example("%YAML 9.9\n---\na")
@example("a: !<tag:yaml.org,2002:int> x")
@example("{" * 5000)
@example("- " * 5000 + "a")
@example("? " * 500)
@example("\ufeffa: b")
@example("a: \ud800")
@example('"\\ud800"')
@example("9" * 5000)
@example("1e" + "9" * 400)
def test_any_text(text: str) -> None:
    read(text)


@given(st.text(st.sampled_from("ab:- \n[]{}&*!|>'\"%@#?,<~0.")))
def test_any_text_of_yamls_own_signs(text: str) -> None:
    read(text)


@given(trees)
def test_any_tree(tree: object) -> None:
    read(yaml.safe_dump(tree, allow_unicode=True))


@given(st.lists(objects() | damaged(), max_size=4))
def test_what_is_accepted_makes_a_catalogue_that_the_nodes_accept(documents: list[dict[str, Any]]) -> None:
    given_namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "istio-system")]
    manifests = read(yaml.safe_dump_all([*given_namespaces, *documents], allow_unicode=True))
    if manifests is None:
        return
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(changes_between({}, manifests.objects))
    for workload in catalogue.workloads.values():
        assert workload_from_wire(workload_to_wire(workload), "cluster.local") == workload
    for service in catalogue.services.values():
        assert service_from_wire(service_to_wire(service)) == service


@pytest.mark.parametrize("step", [1, 7])
def test_a_manifest_cut_anywhere(step: int) -> None:
    text = yaml.safe_dump_all(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a", "namespace": "shop"},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "env": [{"name": "A", "value": 'b"\\'}]}]},
                "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
            },
        ]
    )
    assert read(text) is not None
    for end in range(0, len(text), step):
        read(text[:end])
        read(text[:end] + "\x00" + text[end + 1 :])


@given(st.text(max_size=60) | st.text(st.sampled_from('{}[]":,1e.-tfn \\u0'), max_size=60))
@example("[" * 100_000)
@example('{"kind": "Pod", "kind": "Pod"}')
@example("-" + "9" * 5000)
def test_any_text_as_json(text: str) -> None:
    try:
        parse_manifests({"f.json": text})
    except ConfigErrors:
        pass


@given(objects().filter(lambda data: "<<" not in json.dumps(data)))
def test_json_is_read_as_the_same_yaml_is(data: dict[str, Any]) -> None:
    """But for YAML's key that merges."""
    try:
        read = parse_manifests({"f.json": json.dumps(data)}).objects
    except ConfigErrors:
        return
    assert read == parse_manifests({"f.yaml": yaml.safe_dump(data)}).objects
