"""Small worlds of objects, drawn by hypothesis: few names, labels and addresses, so that everything meets everything."""

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.kubernetes import (
    AuthorizationPolicy,
    EndpointSlice,
    Namespace,
    Node,
    Object,
    PeerAuthentication,
    Pod,
    Service,
    ServiceAccount,
    ServiceEntry,
    WorkloadEntry,
)
from mesh.manifest_checks import key_of

namespaces = st.sampled_from(["shop", "istio-system"])
names = st.sampled_from(["a", "b"])
addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"])
nodes = st.sampled_from(["n1", "n2"])
hosts = st.sampled_from(["a.shop.svc.cluster.local", "x.example", "y.example", "*.example"])
selectors = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["web", "api"]), max_size=2)
modes = st.sampled_from([{}, {"istio.io/dataplane-mode": "ambient"}, {"istio.io/dataplane-mode": "none"}])
annotations = st.sampled_from([{}, {"ambient.istio.io/redirection": "enabled"}])
port_names = st.sampled_from(["", "http", "tls"])


@st.composite
def labels(draw: st.DrawFn) -> dict[str, str]:
    return {**draw(selectors), **draw(modes)}


def metadata(**more: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"name": names, "namespace": namespaces, **more})


def whole(metadata: st.SearchStrategy[dict[str, Any]], **parts: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"metadata": metadata, **parts})


def spec(**parts: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(parts)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


pods = whole(
    metadata(labels=labels(), annotations=annotations),
    spec=spec(
        nodeName=nodes | st.just(""),
        serviceAccountName=names,
        hostNetwork=st.booleans(),
        containers=st.just([{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]),
    ),
    status=spec(
        phase=st.sampled_from(["Running", "Succeeded"]),
        podIP=maybe(addresses),
        conditions=st.sampled_from([[], [{"type": "Ready", "status": "True"}]]),
    ),
)
service_ports = st.lists(
    spec(port=st.sampled_from([80, 81]), name=port_names, targetPort=st.sampled_from([8080, "http"])),
    max_size=2,
    unique_by=lambda one: one["port"],
)
services = whole(
    metadata(),
    spec=spec(
        selector=selectors,
        clusterIPs=st.lists(addresses, max_size=2),
        ports=service_ports,
        type=st.sampled_from(["ClusterIP", "ExternalName"]),
        internalTrafficPolicy=st.sampled_from(["Cluster", "Local"]),
        sessionAffinity=st.sampled_from(["None", "ClientIP"]),
        publishNotReadyAddresses=st.booleans(),
    ),
)
targets = spec(kind=st.sampled_from(["Pod", "Node"]), name=names, namespace=maybe(namespaces))
slices = whole(
    metadata(labels=st.sampled_from([{}, {"kubernetes.io/service-name": "a"}, {"kubernetes.io/service-name": "b"}])),
    addressType=st.just("IPv4"),
    endpoints=st.lists(
        spec(
            addresses=st.lists(addresses | st.just("x.example"), max_size=1),
            conditions=spec(ready=maybe(st.booleans())),
            targetRef=maybe(targets),
            nodeName=maybe(nodes),
            zone=st.sampled_from(["", "z"]),
        ),
        max_size=3,
    ),
    ports=st.lists(spec(name=port_names, port=maybe(st.just(9000))), max_size=2),
)
entry_spec = {
    "address": addresses | hosts.filter(lambda host: "*" not in host) | st.just(""),
    "ports": st.sampled_from([{}, {"http": 7000}]),
    "labels": selectors,
    "network": st.sampled_from(["", "other"]),
    "locality": st.sampled_from(["", "r/z"]),
    "weight": st.integers(0, 3),
}
workload_entries = whole(metadata(labels=labels(), annotations=annotations), spec=spec(**entry_spec))
service_entries = whole(
    metadata(creationTimestamp=maybe(st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]))),
    spec=spec(
        hosts=st.lists(hosts, min_size=1, max_size=2),
        addresses=st.lists(addresses | st.just("10.0.0.0/24"), max_size=2),
        ports=st.lists(spec(number=st.sampled_from([80, 443]), name=port_names), max_size=2),
        resolution=st.sampled_from(["NONE", "STATIC", "DNS", "DYNAMIC_DNS"]),
        endpoints=st.lists(spec(**entry_spec), max_size=2),
        workloadSelector=maybe(spec(labels=selectors)),
    ),
)
match_labels = maybe(spec(matchLabels=selectors))
authorization_policies = whole(
    metadata(annotations=st.sampled_from([{}, {"istio.io/dry-run": "true"}])),
    spec=spec(
        selector=match_labels,
        action=st.sampled_from(["ALLOW", "DENY", "AUDIT"]),
        rules=st.sampled_from([[], [{}], [{"from": [{"source": {"namespaces": ["shop"]}}]}]]),
    ),
)
peer_authentications = whole(
    metadata(creationTimestamp=maybe(st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]))),
    spec=spec(
        selector=match_labels,
        mtls=spec(mode=st.sampled_from(["STRICT", "PERMISSIVE", "UNSET", "DISABLE"])),
        portLevelMtls=st.sampled_from([{}, {"8080": {"mode": "PERMISSIVE"}}]),
    ),
)
zones = st.sampled_from([{}, {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}])

kinds: list[tuple[type[Object], st.SearchStrategy[dict[str, Any]]]] = [
    (Pod, pods),
    (Service, services),
    (EndpointSlice, slices),
    (WorkloadEntry, workload_entries),
    (ServiceEntry, service_entries),
    (AuthorizationPolicy, authorization_policies),
    (PeerAuthentication, peer_authentications),
    (Namespace, whole(spec(name=namespaces, labels=modes))),
    (Node, whole(spec(name=nodes, labels=zones))),
    (ServiceAccount, whole(metadata())),
]
objects: st.SearchStrategy[Object] = st.one_of(*(strategy.map(kind.model_validate) for kind, strategy in kinds))


@st.composite
def changes(draw: st.DrawFn) -> ObjectChange:
    value = draw(objects)
    return ObjectChange(key_of(value), draw(st.sampled_from([value, value, None])))


def final_objects(history: list[ObjectChange]) -> dict[ObjectKey, Object]:
    """Returns what is there after all changes."""
    found: dict[ObjectKey, Object] = {}
    for change in history:
        found.pop(change.key, None)
        if change.value is not None:
            found[change.key] = change.value
    return found


def changes_between(before: Mapping[ObjectKey, Object], after: Mapping[ObjectKey, Object]) -> Iterator[ObjectChange]:
    """Yields what leads from one state to another: first what is gone."""
    yield from (ObjectChange(key, None) for key in before if key not in after)
    yield from (ObjectChange(key, value) for key, value in after.items() if before.get(key) != value)
