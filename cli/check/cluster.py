"""What the mesh needs of a cluster before it is installed. Pure."""

import re
from collections.abc import Iterator
from datetime import datetime

from cli.check.facts import Document, Facts, Question, labels_of, name_of
from cli.check.findings import Finding, error, good, warning

# Source: values.yaml of the chart, kubeVersion of Chart.yaml.
LEAST_SERVER = (1, 28)
# sk_lookup redirects into a namespace since 5.9; what the capture programs use besides is there since 5.17.
LEAST_KERNEL = {"ebpf": (5, 17), "iptables": (4, 11)}
ARCHITECTURES = ("amd64", "arm64")
# Certificates are good from a minute before they are made.
MAX_SKEW_S = 30.0
# A lease is as old as that before its node counts as away. Source: kubelet, nodeLeaseDurationSeconds.
_HEARTBEAT_S = 40.0
# Conditions of a node that keep pods away, or end them. Source: Kubernetes, "Node Status".
_PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
# DaemonSets of Istio's own ambient mode.
_ISTIO_AGENTS = ("istio-cni-node", "ztunnel")
DEFINITIONS = {
    "authorizationpolicies.security.istio.io": {"v1", "v1beta1"},
    "peerauthentications.security.istio.io": {"v1", "v1beta1"},
    "serviceentries.networking.istio.io": {"v1", "v1beta1", "v1alpha3"},
    "workloadentries.networking.istio.io": {"v1", "v1beta1", "v1alpha3"},
}
# What Helm creates of the chart, and what is watched until it is ready.
QUESTIONS = (
    *(Question("create", "", one) for one in ("configmaps", "serviceaccounts", "services")),
    *(Question("create", "apps", one) for one in ("daemonsets", "deployments")),
    Question("create", "policy", "poddisruptionbudgets"),
    Question("create", "networking.k8s.io", "networkpolicies"),
    *(Question("create", "rbac.authorization.k8s.io", one) for one in ("roles", "rolebindings")),
    *(Question("create", "rbac.authorization.k8s.io", one, namespaced=False) for one in ("clusterroles", "clusterrolebindings")),
    Question("create", "apiextensions.k8s.io", "customresourcedefinitions", namespaced=False),
    Question("create", "admissionregistration.k8s.io", "validatingadmissionpolicies", namespaced=False),
    Question("list", "", "pods", namespaced=False),
    Question("list", "", "nodes", namespaced=False),
)


def judge_cluster(facts: Facts) -> Iterator[Finding]:
    """The conditions in the order in which one would look at them; where the API server is not reached there is only one."""
    if facts.server is None:
        yield error(
            "API server", f"not reached: {facts.unreached}", "see which cluster `kubectl config current-context` names, and its kubeconfig"
        )
        return
    yield _server(facts)
    yield _clock(facts)
    yield _permissions(facts)
    for kind, reason in facts.missing.items():
        yield warning(kind, f"not seen: {reason}", f"ask for the permission to list {kind}; what depends on them is not checked")
    yield _definitions(facts)
    yield from _nodes(facts)
    yield _namespace(facts)
    yield from _others(facts)


def _server(facts: Facts) -> Finding:
    assert facts.server is not None
    version = str(facts.server.get("gitVersion", "?"))
    numbers = _numbers(version)
    least = ".".join(map(str, LEAST_SERVER))
    if numbers < LEAST_SERVER:
        return error("API server", f"{version}", f"the mesh runs with Kubernetes {least} and later: upgrade the cluster")
    return good("API server", version)


def _clock(facts: Facts) -> Finding:
    what = "clock"
    if facts.clock_s is None:
        return warning(what, "the API server did not say its time", "compare the clocks of the nodes yourself")
    if abs(facts.clock_s) > MAX_SKEW_S:
        side = "ahead of" if facts.clock_s > 0 else "behind"
        return error(
            what,
            f"the API server's is {abs(facts.clock_s):.0f} s {side} this machine's",
            "certificates depend on the time: run NTP on both",
        )
    return good(what, f"the API server's differs from this machine's by {abs(facts.clock_s):.0f} s")


def _permissions(facts: Facts) -> Finding:
    own = {question: allowed for question, allowed in facts.allowed.items() if not question.account}
    denied = [str(question) for question, allowed in own.items() if not allowed]
    if denied:
        return error("permissions", f"you may not {', '.join(denied)}", "install as a cluster administrator, or ask one for these")
    return good("permissions", f"all {len(own)} that installing needs")


def _definitions(facts: Facts) -> Finding:
    what = "custom resources"
    known = {name_of(one): one for one in facts.lists.get("customresourcedefinitions", ())}
    present = sorted(known.keys() & DEFINITIONS.keys())
    for name in present:
        served = {version["name"] for version in known[name]["spec"]["versions"] if version.get("served")}
        if not served & DEFINITIONS[name]:
            return error(what, f"{name} has none of {', '.join(sorted(DEFINITIONS[name]))}", "upgrade what installed it")
    if not present:
        return good(what, "none yet; installing brings them")
    if missing := sorted(DEFINITIONS.keys() - known.keys()):
        return warning(what, f"missing: {', '.join(missing)}", "`ambient upgrade` brings them, unless crds.install is false")
    foreign = [name for name in present if labels_of(known[name]).get("app.kubernetes.io/part-of") != "ambient-mesh"]
    return good(what, f"all {len(present)}" + (f", {len(foreign)} of them not ours, and left alone" if foreign else ""))


def _nodes(facts: Facts) -> Iterator[Finding]:
    """One line where all nodes are alike, and one for each that is in the way."""
    sound = 0
    kernels: set[str] = set()
    for node in facts.lists.get("nodes", ()):
        info = node.get("status", {}).get("nodeInfo", {})
        if info.get("operatingSystem", "linux") != "linux":
            continue
        problem = _node_problem(facts.capture, info, _unready(node)) or _clock_problem(facts, name_of(node))
        if problem:
            yield error(f"node {name_of(node)}", *problem)
        else:
            sound += 1
            kernels.add(str(info.get("kernelVersion", "?")))
    if sound:
        shown = ", ".join(sorted(kernels)[:3]) + (", ..." if len(kernels) > 3 else "")
        yield good("nodes", f"{sound} can capture by {facts.capture}: kernel {shown}")


def _node_problem(capture: str, info: dict[str, str], ready: str) -> tuple[str, str] | None:
    kernel, least = str(info.get("kernelVersion", "")), LEAST_KERNEL[capture]
    if info.get("architecture") not in ARCHITECTURES:
        return (
            f"architecture {info.get('architecture')}",
            f"the image is for {' and '.join(ARCHITECTURES)}: keep the node out with daemonset.nodeSelector",
        )
    if _numbers(kernel) < least:
        other = (
            "install with --set agent.capture=iptables, or " if capture == "ebpf" and _numbers(kernel) >= LEAST_KERNEL["iptables"] else ""
        )
        return f"kernel {kernel}", f"{other}upgrade to {least[0]}.{least[1]}: capture by {capture} needs it"
    if ready:
        return f"not ready: {ready}", "kubectl describe node; the mesh's pods start when it is ready"
    return None


def _clock_problem(facts: Facts, node: str) -> tuple[str, str] | None:
    """A kubelet writes its own time into its lease, every ten seconds. Source: Kubernetes, "Leases", node heartbeats."""
    lease = next((one for one in facts.lists.get("leases", ()) if name_of(one) == node), None)
    if lease is None or not facts.now_s or not (renewed := lease.get("spec", {}).get("renewTime")):
        return None
    ahead_s = datetime.fromisoformat(renewed).timestamp() - facts.now_s
    if -MAX_SKEW_S - _HEARTBEAT_S <= ahead_s <= MAX_SKEW_S:
        return None
    side = "ahead of" if ahead_s > 0 else "behind"
    return f"its clock is {abs(ahead_s):.0f} s {side} the API server's", "certificates depend on the time: run NTP on it"


def _unready(node: Document) -> str:
    """Returns why a node is not as it should be; "": it is."""
    conditions: list[dict[str, str]] = node.get("status", {}).get("conditions", [])
    pressed = [one["type"] for one in conditions if one.get("type") in _PRESSURES and one.get("status") == "True"]
    if pressed:
        return ", ".join(pressed)
    condition: dict[str, str] = next((one for one in conditions if one.get("type") == "Ready"), {})
    return (
        "" if condition.get("status") == "True" else str(condition.get("message") or condition.get("reason") or "no word from its kubelet")
    )


def _namespace(facts: Facts) -> Finding:
    what = f"namespace {facts.namespace}"
    found = next((one for one in facts.lists.get("namespaces", ()) if name_of(one) == facts.namespace), None)
    if found is None:
        return good(what, "not there yet; installing makes it")
    enforced = labels_of(found).get("pod-security.kubernetes.io/enforce", "privileged")
    if enforced != "privileged":
        label = f"kubectl label --overwrite namespace {facts.namespace} pod-security.kubernetes.io/enforce=privileged"
        return error(what, f"Pod Security enforces {enforced}", f"{label}: agents enter the network namespaces of pods")
    return good(what, "admits the agents")


def _others(facts: Facts) -> Iterator[Finding]:
    """Other programs that want the same pods, or the CNI's configuration for themselves."""
    for one in facts.lists.get("daemonsets", ()):
        if name_of(one) in _ISTIO_AGENTS and labels_of(one).get("app.kubernetes.io/part-of") != "ambient-mesh":
            place = f"{one['metadata']['namespace']}/{name_of(one)}"
            yield error("another mesh", f"DaemonSet {place} captures pods by the same labels", "uninstall one of the two")
    for one in facts.lists.get("configmaps", ()):
        if name_of(one) == "cilium-config" and (one.get("data") or {}).get("cni-exclusive", "true") == "true":
            yield error(
                "CNI", "Cilium removes the configuration of other plugins (cni-exclusive)", "install Cilium with cni.exclusive=false"
            )


def _numbers(version: str) -> tuple[int, int]:
    """The first two numbers of "v1.33.2" or "6.1.0-18-amd64"; (0, 0) of what has none."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
