"""Manifests: what is read, and every error with its file, document, field, value and what was expected."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from mesh.errors import ConfigErrors
from mesh.manifests import Manifests, parse_manifests

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n"
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  uid: 4f6c1a52-0000-4000-8000-000000000001
  creationTimestamp: 2026-01-01T00:00:00Z
  labels: {app: web}
  annotations: null
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, controller: true, uid: x}]
spec:
  nodeName: node1
  serviceAccountName: web
  containers:
  - name: web
    image: nginx
    command: [nginx, -g, daemon off;]
    args: ["1"]
    env: [{name: A, value: b}, {name: C}]
    ports: [{name: http, containerPort: 80}]
    resources: {limits: {cpu: 1}}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  conditions: [{type: Ready, status: "True", lastProbeTime: null}]
"""
ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, "fd00::96"]
  ports: [{port: 80, targetPort: http}, {port: 443, name: tls}]
"""


def parse(*documents: str) -> Manifests:
    return parse_manifests({"f.yaml": "---\n".join(documents)})


def errors(*documents: str) -> list[tuple[str, object, str]]:
    with pytest.raises(ConfigErrors) as wrong:
        parse(*documents)
    return [(error.key, error.value, error.expected) for error in wrong.value.errors]


def pod(**changes: str) -> str:
    """A pod in the namespace default, written in lines that `changes` replaces by their first key."""
    parts = {"metadata": "{name: a}", "spec": "{nodeName: n, containers: [{name: c}]}", "status": "{}", **changes}
    return "".join(f"{key}: {value}\n" for key, value in {"apiVersion": "v1", "kind": "Pod", **parts}.items())


def service(spec: str) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {spec}\n"


def test_what_is_read() -> None:
    manifests = parse(NAMESPACE, POD, ACCOUNT, SERVICE)
    read = manifests.pods["shop/web-1"]
    assert (read.metadata.uid, read.spec.node_name, read.spec.service_account_name) == (
        "4f6c1a52-0000-4000-8000-000000000001",
        "node1",
        "web",
    )
    [container] = read.spec.containers
    assert (container.command, container.args, container.image) == (("nginx", "-g", "daemon off;"), ("1",), "nginx")
    assert [(one.name, one.value) for one in container.env] == [("A", "b"), ("C", "")]
    assert read.addresses == (IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))
    assert (read.ready, read.finished, read.metadata.annotations) == (True, False, {})
    web = manifests.services["shop/web"]
    assert web.addresses == (IPv4Address("10.96.0.1"), IPv6Address("fd00::96"))
    assert [(port.port, port.target) for port in web.spec.ports] == [(80, "http"), (443, 443)]
    assert set(manifests.namespaces) == {"default", "shop"}
    assert set(manifests.service_accounts) == {"shop/web"}


def test_defaults() -> None:
    read = parse(pod(spec="{containers: [{name: c}]}")).pods["default/a"]
    assert (read.spec.service_account_name, read.spec.node_name, read.spec.host_network, read.status.phase) == (
        "default",
        "",
        False,
        "Pending",
    )
    assert (read.addresses, read.ready) == ((), False)


def test_nothing_is_read_from_nothing() -> None:
    assert parse("").pods == {}


@pytest.mark.parametrize(
    ("spec", "addresses"),
    [
        ("{clusterIP: None}", []),
        ('{clusterIP: ""}', []),
        ("{clusterIPs: [None]}", []),
        ("{}", []),
        ("{clusterIP: 10.96.0.1}", ["10.96.0.1"]),
    ],
)
def test_virtual_addresses(spec: str, addresses: list[str]) -> None:
    assert list(map(str, parse(service(spec)).services["default/s"].addresses)) == addresses


@pytest.mark.parametrize(
    ("metadata", "status", "ready"),
    [
        ("{name: a}", '{phase: Running, conditions: [{type: Ready, status: "True"}]}', True),
        ("{name: a}", '{phase: Running, conditions: [{type: Ready, status: "False"}]}', False),
        ("{name: a}", "{phase: Running}", False),
        ("{name: a}", '{phase: Pending, conditions: [{type: Ready, status: "True"}]}', False),
        ("{name: a, deletionTimestamp: 2026-01-01T00:00:00Z}", '{phase: Running, conditions: [{type: Ready, status: "True"}]}', False),
    ],
)
def test_readiness(metadata: str, status: str, ready: bool) -> None:
    assert parse(pod(metadata=metadata, status=status)).pods["default/a"].ready is ready


def test_lists() -> None:
    inner = "  - {kind: Namespace, apiVersion: v1, metadata: {name: shop}}\n"
    manifests = parse(
        f"apiVersion: v1\nkind: List\nitems:\n{inner}",
        "apiVersion: v1\nkind: PodList\nitems:\n- {metadata: {name: a, namespace: shop}, spec: {containers: [{name: c}]}}\n",
    )
    assert set(manifests.pods) == {"shop/a"}
    assert errors("apiVersion: v1\nkind: List\nitems: [{kind: Pod, apiVersion: v1, metadata: {name: a}}, 3]\n") == [
        ("f.yaml:1:items.0.spec", None, "a value"),
        ("f.yaml:1:items.1", 3, "an object with apiVersion and kind"),
    ]


def test_lists_of_lists_are_bounded() -> None:
    text = "{kind: Namespace, apiVersion: v1, metadata: {name: a}}"
    for _ in range(3):
        text = f"{{kind: List, apiVersion: v1, items: [{text}]}}"
    assert errors(text) == [("f.yaml:1:items.0.items.0.items", "a list of 1", "a list of objects")]


def test_unknown_kinds_are_left_alone_and_named() -> None:
    foreign = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: 7}\n"
    assert parse("apiVersion: apps/v1\nkind: Deployment\n", foreign).ignored == ("f.yaml:1:Deployment", "f.yaml:2:Service")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("7", ("f.yaml:1", 7, "an object with apiVersion and kind")),
        ("apiVersion: v1", ("f.yaml:1:kind", None, "the kind of an object, such as Pod")),
        ("kind: Pod", ("f.yaml:1:apiVersion", None, "a version such as v1")),
        ("kind: List\napiVersion: v1", ("f.yaml:1:items", None, "a list of objects")),
        (pod(metadata="{}"), ("f.yaml:1:metadata.name", None, "a value")),
        (pod(metadata="{name: ../etc}"), ("f.yaml:1:metadata.name", "../etc", "a DNS subdomain (RFC 1123)")),
        (pod(metadata="{name: 7}"), ("f.yaml:1:metadata.name", 7, "a valid string")),
        (pod(metadata="{name: a, uid: ../x}"), ("f.yaml:1:metadata.uid", "../x", "up to 128 letters, digits, '-', '_' or '.'")),
        (pod(metadata="{name: a, labels: {on: yes}}"), ("f.yaml:1:metadata.labels.on", True, "a valid string")),
        (
            pod(metadata="{name: a, labels: {a: b c}}"),
            ("f.yaml:1:metadata.labels.a", "b c", "a label's value: up to 63 letters, digits, '-', '_' or '.'"),
        ),
        (pod(spec="{containers: []}"), ("f.yaml:1:spec.containers", "a list of 0", "at least one entry")),
        (pod(spec="{containers: [{name: c, command: sh}]}"), ("f.yaml:1:spec.containers.0.command", "sh", "a valid list")),
        (
            pod(spec="{containers: [{name: c, ports: [{containerPort: 0}]}]}"),
            ("f.yaml:1:spec.containers.0.ports.0.containerPort", 0, "greater than or equal to 1"),
        ),
        (pod(spec="{hostNetwork: 1, containers: [{name: c}]}"), ("f.yaml:1:spec.hostNetwork", 1, "a valid boolean")),
        (pod(status="{phase: Up}"), ("f.yaml:1:status.phase", "Up", "'Pending', 'Running', 'Succeeded', 'Failed' or 'Unknown'")),
        (pod(status="{podIP: 10.0.0.256}"), ("f.yaml:1:status.podIP", "10.0.0.256", "an IPv4 or IPv6 address")),
        (pod(status="{podIPs: [{ip: 7}]}"), ("f.yaml:1:status.podIPs.0.ip", 7, "an IPv4 or IPv6 address")),
        (pod(status='{podIP: "::ffff:10.0.0.1"}'), ("f.yaml:1:status.podIP", "::ffff:10.0.0.1", "an IPv4 or IPv6 address")),
        (service("{ports: [{port: 65536}]}"), ("f.yaml:1:spec.ports.0.port", 65536, "less than or equal to 65535")),
        (
            service("{ports: [{port: 80, targetPort: 0}]}"),
            ("f.yaml:1:spec.ports.0.targetPort", 0, "a port 1-65535 or the name of a container's port"),
        ),
        (service("{clusterIPs: [nowhere]}"), ("f.yaml:1:spec.clusterIPs.0", "nowhere", "an IPv4 or IPv6 address")),
        (service("{ports: [{port: 80, protocol: tcp}]}"), ("f.yaml:1:spec.ports.0.protocol", "tcp", "'TCP', 'UDP' or 'SCTP'")),
        (pod(metadata="{name: a, namespace: nope}"), ("f.yaml:1:metadata.namespace", "nope", "a namespace that a manifest declares")),
        (
            pod(spec="{serviceAccountName: robot, containers: [{name: c}]}"),
            ("f.yaml:1:spec.serviceAccountName", "robot", "a service account that a manifest declares in default"),
        ),
    ],
)
def test_wrong_manifests(document: str, expected: tuple[str, object, str]) -> None:
    assert errors(document) == [expected]


def test_all_errors_of_all_files_at_once() -> None:
    with pytest.raises(ConfigErrors) as wrong:
        parse_manifests({"a.yaml": pod(spec="{nodeName: 7, hostNetwork: x}"), "b.yaml": f"{pod(metadata='{name: A}')}---\nx: [\n"})
    assert [error.key for error in wrong.value.errors] == [
        "a.yaml:1:spec.containers",
        "a.yaml:1:spec.nodeName",
        "a.yaml:1:spec.hostNetwork",
        "b.yaml:1:metadata.name",
        "b.yaml:2:line 8",
    ]


def test_a_name_is_used_once_in_its_namespace_and_kind() -> None:
    parse(pod(), "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", NAMESPACE, pod(metadata="{name: a, namespace: shop}"))
    assert errors(pod(), pod()) == [("f.yaml:2:metadata.name", "default/a", "one Pod of this name; another stands in f.yaml:1")]
    assert errors(NAMESPACE, NAMESPACE) == [("f.yaml:2:metadata.name", "shop", "one Namespace of this name; another stands in f.yaml:1")]


def test_a_uid_is_used_once() -> None:
    assert errors(pod(metadata="{name: a, uid: u}"), pod(metadata="{name: b, uid: u}")) == [
        ("f.yaml:2:metadata.uid", "u", "a uid of its own; f.yaml:1 has it too")
    ]


def test_an_address_has_one_owner() -> None:
    first, other = pod(status="{podIP: 10.0.0.1}"), "{name: b}"
    clash = ("f.yaml:2:status.podIPs", "10.0.0.1", "an address of its own; f.yaml:1 has it too")
    assert errors(first, pod(metadata=other, status="{podIP: 10.0.0.1}")) == [clash]
    parse(first, pod(metadata=other, status="{podIP: 10.0.0.1, phase: Succeeded}"))
    parse(first, pod(metadata=other, status="{podIP: 10.0.0.1}", spec="{hostNetwork: true, containers: [{name: c}]}"))
    assert errors(first, service("{clusterIP: 10.0.0.1}")) == [("f.yaml:2:spec.clusterIPs", *clash[1:])]


def test_a_structure_is_not_quoted_and_a_long_text_is_cut() -> None:
    [(_, value, _)] = errors(pod(spec="{containers: [{name: c, env: {PASSWORD: secret}}]}"))
    assert value == "a mapping"
    [(_, value, _)] = errors(pod(metadata="{name: " + "x" * 300 + "}"))
    assert value == "x" * 64
