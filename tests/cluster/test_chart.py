"""The chart against a real API server: everything that it may render is accepted, and does what it is for.

The mesh itself is not started here; what it does once it runs is another file's.
"""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.errors import ApiError
from mesh.kubernetes import AuthorizationPolicy
from runtime.kubernetes import Api, Resource, load_access
from runtime.kubernetes.resources import NODES, PODS
from tests.cluster.cluster import Cluster
from tests.cluster.helm import CHART, HelmFailed, helm, render
from tests.cluster.kubectl import KubectlFailed
from tests.cluster.processes import until

PROJECT = Path(__file__).parents[2]
SYSTEM = "ambient-system"
DIGEST = f"sha256:{'a' * 64}"
VALUES = {
    "defaults": (),
    "autoscaled": ("--set", "controlplane.autoscaling.enabled=true"),
    "one replica": ("--set", "controlplane.replicas=1"),
    "without the CNI plugin": ("--set", "cni.enabled=false,agent.capture=iptables"),
    "an authority of theirs": ("--set", "controlplane.authoritySecret=cacerts,controlplane.extraNodeProxyAccounts={a/b}"),
    "a registry": ("--set", f"image.repository=registry:5000/mesh,image.digest={DIGEST},image.pullSecrets={{one,two}}"),
    "without network policies": ("--set", "controlplane.networkPolicy.enabled=false,daemonset.networkPolicy.enabled=false"),
    "extras": (
        "--set-json",
        'agent.extraEnv=[{"name":"X","value":"y"}]',
        "--set-json",
        'daemonset.extraVolumes=[{"name":"x","emptyDir":{}}]',
        "--set-json",
        'ztunnel.extraVolumeMounts=[{"name":"x","mountPath":"/x"}]',
        "--set-json",
        'controlplane.podLabels={"team":"mesh"}',
        "--set-json",
        'daemonset.podAnnotations={"a":"b"}',
    ),
}


@pytest.fixture(scope="module")
def system(cluster: Cluster) -> Iterator[str]:
    """The release's namespace."""
    cluster.kubectl.apply((CHART / "files/namespace.yaml").read_text())
    try:
        yield SYSTEM
    finally:
        cluster.kubectl("delete", "namespace", SYSTEM, "--wait")


@pytest.fixture
def definitions(cluster: Cluster) -> Iterator[None]:
    """The chart's custom resources alone."""
    cluster.kubectl.apply(render(cluster, "--show-only", "templates/crds.yaml"))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/part-of=ambient-mesh", "--timeout=30s")
    try:
        yield
    finally:
        cluster.kubectl("delete", "crd", "-l", "app.kubernetes.io/part-of=ambient-mesh")


def _policy(kind: str, spec: Any) -> str:
    return json.dumps({"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": "p"}, "spec": spec})


def test_lint(cluster: Cluster) -> None:
    assert "0 chart(s) failed" in helm(cluster, "lint", "--strict", str(CHART))


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_api_server_takes_it_strictly(cluster: Cluster, system: str, values: tuple[str, ...]) -> None:
    """Unknown fields, wrong types, expressions that do not compile: all are errors of a dry run on the server."""
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=render(cluster, *values))


@pytest.mark.parametrize("version", ["1.28.0", "1.30.0", "1.32.0", "1.34.0"])
def test_older_clusters_get_what_they_know(cluster: Cluster, version: str) -> None:
    rendered = render(cluster, "--kube-version", version)
    kinds = {one["kind"] for one in yaml.safe_load_all(rendered) if one}
    assert ("ValidatingAdmissionPolicy" in kinds) == (version >= "1.32.0")
    assert ("appArmorProfile" in rendered) == (version >= "1.30.0")
    assert ("container.apparmor" in rendered) == (version < "1.30.0")


@pytest.mark.parametrize("wrong", ["agent.capture=xdp", "replicas=3", "ztunnel.drainTimeoutS=soon", "mesh.trustDomain=UPPER"])
def test_wrong_values_are_refused(cluster: Cluster, wrong: str) -> None:
    with pytest.raises(HelmFailed, match="values don't meet the specifications"):
        render(cluster, "--set", wrong)


def test_the_committed_manifests_are_the_charts(cluster: Cluster) -> None:
    for name, options in (("ambient", ("--no-hooks",)), ("uninstall", ("--show-only", "templates/uninstall.yaml"))):
        rendered = helm(cluster, "template", "ambient", str(CHART), "--namespace", SYSTEM, "--kube-version", "1.32.0", *options)
        assert (PROJECT / f"daemonset/manifests/{name}.yaml").read_text().endswith(rendered)


def test_a_policy_comes_back_as_it_was_written(cluster: Cluster, definitions: None, namespace: str) -> None:
    """Also what nobody knows: were it dropped, the policy could mean more than was written."""
    source = {"principals": ["cluster.local/ns/a/sa/b"], "notIpBlocks": ["10.0.0.0/8"], "aFieldOfTomorrow": ["x"]}
    rule = {"from": [{"source": source}], "to": [{"operation": {"ports": ["80"]}}], "when": [{"key": "source.namespace", "values": ["a"]}]}
    spec = {"action": "DENY", "selector": {"matchLabels": {"app": "web"}}, "rules": [rule]}
    cluster.kubectl.apply(_policy("AuthorizationPolicy", spec), "-n", namespace)
    found = cluster.kubectl.get("authorizationpolicy.v1beta1.security.istio.io", "p", "-n", namespace)
    assert found["spec"] == spec
    read = AuthorizationPolicy.model_validate(found)
    assert list(read.spec.unknown_fields("spec")) == ["spec.rules.0.from.0.source.aFieldOfTomorrow"]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("AuthorizationPolicy", {"action": "PERHAPS"}),
        ("AuthorizationPolicy", {"rules": [{"from": [{"source": {"principals": "one"}}]}]}),
        ("PeerAuthentication", {"mtls": {"mode": "SOMETIMES"}}),
    ],
)
def test_wrong_types_and_words_are_refused_at_once(cluster: Cluster, definitions: None, namespace: str, kind: str, spec: Any) -> None:
    with pytest.raises(KubectlFailed, match="spec"):
        cluster.kubectl.apply(_policy(kind, spec), "-n", namespace)


def test_columns_say_what_became_of_a_policy(cluster: Cluster, definitions: None, namespace: str) -> None:
    written = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "p"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }
    cluster.kubectl.apply(json.dumps(written), "-n", namespace)
    conditions = [{"type": "Accepted", "status": "True"}, {"type": "EnforcedAtL4", "status": "False", "message": "overridden"}]
    patch = json.dumps({"status": {"conditions": conditions}})
    cluster.kubectl("patch", "peerauthentication", "p", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    columns = cluster.kubectl("get", "peerauthentication", "p", "-n", namespace, "-o", "wide").splitlines()[1].split()
    assert columns[:5] == ["p", "STRICT", "True", "False", "overridden"]


def test_definitions_of_others_are_left_alone(cluster: Cluster, system: str) -> None:
    """Those that another release installed are not ours to change; those that are missing are."""
    rendered = yaml.safe_load_all(render(cluster, "--show-only", "templates/crds.yaml"))
    (theirs,) = (one for one in rendered if one["spec"]["names"]["kind"] == "ServiceEntry")
    theirs["metadata"]["annotations"] = {"meta.helm.sh/release-name": "istio-base"}
    theirs["metadata"]["labels"] = {"app": "istio"}
    cluster.kubectl.apply(json.dumps(theirs))
    try:
        said = helm(cluster, "install", "ambient", str(CHART), "-n", system, "--dry-run=server", "--no-hooks")
        assert "name: serviceentries.networking.istio.io" not in said
        assert "name: workloadentries.networking.istio.io" in said
    finally:
        cluster.kubectl("delete", "crd", "serviceentries.networking.istio.io")


@pytest.fixture
def agent(cluster: Cluster, system: str, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig with the agents' account, as a pod on node1 has it; there is such a pod on node2 too."""
    parts = [option for name in ("accounts", "rbac", "agent-limits") for option in ("--show-only", f"templates/{name}.yaml")]
    rendered = render(cluster, *parts)
    cluster.kubectl.apply(rendered)
    for node in ("node1", "node2"):
        container = {"name": "c", "image": "localhost/tools:1", "command": ["sleep", "3600"]}
        spec = {"serviceAccountName": "ambient", "nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
        cluster.kubectl.apply(
            json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"on-{node}"}, "spec": spec}), "-n", system
        )
    bound = ("--bound-object-kind", "Pod", "--bound-object-name", "on-node1")
    config = json.loads(cluster.layout.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": cluster.kubectl("-n", system, "create", "token", "ambient", *bound).strip()}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    try:
        yield tmp_path / "kubeconfig"
    finally:
        cluster.kubectl("delete", "-f", "-", stdin=rendered)


def _patch(kubeconfig: Path, resource: Resource, namespace: str, name: str, patch: Any, subresource: str = "") -> str:
    """Patches an object as the agent would; returns why it was refused, "": it was not."""

    async def work() -> None:
        async with Api(await load_access(kubeconfig), kubeconfig) as api:
            await api.merge(resource, namespace, name, patch, subresource)

    try:
        asyncio.run(work())
    except ApiError as error:
        return error.message
    return ""


def test_an_agent_changes_pods_of_its_own_node_alone(cluster: Cluster, system: str, agent: Path) -> None:
    announced = {"metadata": {"annotations": {"ambient.istio.io/redirection": "enabled"}}}
    # A policy is enforced a moment after it was made.
    until(
        lambda: "no pods but those of its own node" in _patch(agent, PODS, system, "on-node2", announced, "status"),
        "another node's pod is refused",
        cluster.layout,
        "kube-apiserver",
    )
    assert _patch(agent, PODS, system, "on-node1", announced, "status") == ""
    assert "cannot patch resource" in _patch(agent, PODS, system, "on-node1", announced)


def _is_refused(agent: Path, patch: Any) -> bool:
    return "no node but its own" in _patch(agent, NODES, "", "node2", patch)


def test_an_agent_takes_taints_off_its_own_node_and_does_nothing_else(cluster: Cluster, agent: Path) -> None:
    taint, clean = "cni.istio.io/not-ready=:PreferNoSchedule", {"spec": {"taints": None}}
    more = {"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}
    cluster.kubectl("taint", "node", "node1", "node2", taint)
    try:
        until(partial(_is_refused, agent, clean), "another node is refused", cluster.layout, "kube-apiserver")
        for wrong in ({"spec": {"unschedulable": True}}, {"metadata": {"labels": {"x": "y"}}}, more):
            assert "removes taints" in _patch(agent, NODES, "", "node1", wrong)
        assert _patch(agent, NODES, "", "node1", clean) == ""
        assert "taints" not in cluster.kubectl.get("node", "node1")["spec"]
    finally:
        # Before the policy was enforced it may have been taken off.
        cluster.kubectl("taint", "node", "node2", "--overwrite", taint)
        cluster.kubectl("taint", "node", "node2", "cni.istio.io/not-ready-")
