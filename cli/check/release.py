"""How the mesh does that is installed. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cli.check.facts import Document, Facts, Question, annotations_of, labels_of, name_of, namespace_of
from cli.check.findings import Finding, error, good, warning
from mesh.enrolment import AMBIENT, MODE_LABEL, REDIRECTED, REDIRECTION_ANNOTATION

_VERSION = "app.kubernetes.io/version"
_NAME = "app.kubernetes.io/name"
CONTROL_PLANE, NODES = "ambient-controlplane", "ambient"
# A level of a log line, in each format that the processes write; or what a program says that did not get as far as a log.
_COMPLAINT = re.compile(r"""level(=|"?: )['"](error|warning)|\t(error|warning)\t|expected """)
# Of a line so much is shown.
_WORDS = 300
# Events that repeat the state of a container.
_KNOWN_OTHERWISE = ("BackOff", "Unhealthy", "FailedScheduling")
# Of what fails everywhere alike, so many are named.
_NAMED = 5


# What each account needs to do its work at all. Source: templates/rbac.yaml of the chart.
_WATCHED = {
    CONTROL_PLANE: (
        *(("", one) for one in ("namespaces", "nodes", "pods", "services", "serviceaccounts")),
        ("discovery.k8s.io", "endpointslices"),
        *(("security.istio.io", one) for one in ("authorizationpolicies", "peerauthentications")),
        *(("networking.istio.io", one) for one in ("serviceentries", "workloadentries")),
    ),
    NODES: (("", "namespaces"), ("", "pods")),
}
_VERBS = ("list", "watch")
QUESTIONS = (
    *(Question(verb, *one, namespaced=False, account=name) for name, kinds in _WATCHED.items() for one in kinds for verb in _VERBS),
    Question("create", "authentication.k8s.io", "tokenreviews", namespaced=False, account=CONTROL_PLANE),
    Question("patch", "", "pods/status", namespaced=False, account=NODES),
)


def installed(facts: Facts) -> bool:
    return facts.of_release("daemonsets", NODES) is not None or facts.of_release("deployments", CONTROL_PLANE) is not None


def capture_of(facts: Facts) -> Facts:
    """Returns the facts with the kind of capture that the installed agents have."""
    found = facts.of_release("daemonsets", NODES)
    containers = found["spec"]["template"]["spec"]["containers"] if found else ()
    modes = [env.get("value") for one in containers for env in one.get("env", ()) if env["name"] == "CAPTURE"]
    return replace(facts, capture=modes[0]) if modes and modes[0] else facts


def judge_release(facts: Facts) -> Iterator[Finding]:
    """The conditions of an installed mesh."""
    yield _workload(facts, "control plane", "deployments", CONTROL_PLANE)
    yield _workload(facts, "agents and ztunnels", "daemonsets", NODES)
    yield from _permissions(facts)
    yield from _broken_pods(facts)
    yield from _versions(facts)
    yield _captured(facts)


def _workload(facts: Facts, what: str, kind: str, name: str) -> Finding:
    found = facts.of_release(kind, name)
    if found is None:
        return error(what, f"there is no {kind.removesuffix('s')} {name}", "ambient upgrade")
    status = found.get("status", {})
    wanted = status.get("desiredNumberScheduled", found["spec"].get("replicas", 1))
    ready = status.get("numberReady", status.get("readyReplicas", 0)) or 0
    updated = status.get("updatedNumberScheduled", status.get("updatedReplicas", 0)) or 0
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    look = f"kubectl -n {facts.namespace} describe {kind.removesuffix('s')} {name}"
    if ready < wanted:
        return error(what, f"{ready} of {wanted} ready", look)
    if updated < wanted or not seen:
        return warning(what, f"{updated} of {wanted} are of the newest version", f"wait for the rollout; {look}")
    return good(what, f"{ready} of {wanted} ready")


def _permissions(facts: Facts) -> Iterator[Finding]:
    """Whether the accounts of the release may do what they are for; somebody may have narrowed their roles."""
    for account in (CONTROL_PLANE, NODES):
        answers = {question: allowed for question, allowed in facts.allowed.items() if question.account == account}
        denied = [str(question) for question, allowed in answers.items() if not allowed]
        if denied:
            yield error(f"account {account}", f"may not {', '.join(denied)}", "ambient upgrade, which restores its roles")
        elif answers:
            yield good(f"account {account}", f"has its {len(answers)} permissions")


def unready_containers(facts: Facts) -> Iterator[tuple[str, str, bool]]:
    """Yields pod, container, and whether it is its log before the last crash that matters, of what has started and is not ready."""
    for pod in _own_pods(facts):
        for one in pod.get("status", {}).get("containerStatuses", ()):
            waits = "waiting" in one.get("state", {})
            crashed = waits and "terminated" in one.get("lastState", {})
            if not one.get("ready") and (crashed or not waits):
                yield name_of(pod), str(one["name"]), crashed


def _broken_pods(facts: Facts) -> Iterator[Finding]:
    """Names why containers do not run, or are not ready."""
    for pod in _own_pods(facts):
        name = name_of(pod)
        troubled = [one for one in pod.get("status", {}).get("containerStatuses", ()) if not one.get("ready")]
        reasons = [_trouble_of(one, _last_words(facts.logs.get((name, one["name"]), ()))) for one in troubled] + _unscheduled(pod)
        if not reasons:
            continue
        started = any((name, one["name"]) in facts.logs for one in troubled)
        # Once it has started, its log says more than the events of before.
        told = "" if started else _last_warning(facts, name)
        advice = f"logs {name} --all-containers --prefix" if started else f"describe pod {name}"
        said = "; ".join(dict.fromkeys([*reasons, told] if told else reasons))
        yield error(f"pod {name}", f"on {pod['spec'].get('nodeName', 'no node')}: {said}", f"kubectl -n {facts.namespace} {advice}")


def _trouble_of(status: Mapping[str, Any], words: str) -> str:
    waiting = status.get("state", {}).get("waiting", {})
    ended = status.get("lastState", {}).get("terminated")
    # The runtime's message about a crash repeats names that stand beside it.
    detail = words or (f"ended with {ended.get('exitCode')}" if ended else waiting.get("message", ""))
    return f"{status['name']}: {waiting.get('reason', 'not ready')}{f': {detail}' if detail else ''}"


def _last_words(lines: Sequence[str]) -> str:
    """The last line that is a complaint, or else the last one."""
    lines = [line.strip() for line in lines if line.strip()]
    complaints = [line for line in lines if _COMPLAINT.search(line)]
    return (complaints or lines or [""])[-1][:_WORDS]


def _unscheduled(pod: Document) -> list[str]:
    conditions = pod.get("status", {}).get("conditions", ())
    return [one.get("message", "") for one in conditions if one.get("type") == "PodScheduled" and one.get("status") == "False"]


def _last_warning(facts: Facts, pod: str) -> str:
    """What its events say last: a volume that is missing, an image that is not found; "" for nothing, or for what its state says."""
    events = [one for one in facts.lists.get("events", ()) if one.get("involvedObject", {}).get("name") == pod]
    events = [one for one in events if one.get("reason") not in _KNOWN_OTHERWISE]
    last = max(events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""), default={})
    return str(last.get("message", ""))


def _versions(facts: Facts) -> Iterator[Finding]:
    """Neighbouring versions work together; others are not tried."""
    found: dict[str, list[str]] = {}
    for pod in _own_pods(facts):
        found.setdefault(labels_of(pod).get(_VERSION, "?"), []).append(f"{labels_of(pod)[_NAME]} {name_of(pod)}")
    what, own = "versions", facts.cli_version
    others = sorted(found.keys() - {own})
    if not others:
        if found:
            yield good(what, f"all of {own}, as this program")
        return
    described = ", ".join(f"{len(found[version])} of {version}" for version in others)
    far = [version for version in others if not _neighbours(version, own)]
    if far:
        yield error(what, f"this program is {own}; pods: {described}", f"use the program of version {far[0]}, or `ambient upgrade`")
    else:
        yield warning(what, f"this program is {own}; pods: {described}", "`ambient upgrade` brings them together")


def _neighbours(one: str, other: str) -> bool:
    """Whether two versions differ by at most one in their second number. Source: docs/kubernetes.md, upgrades."""
    try:
        (major, minor), (other_major, other_minor) = (tuple(map(int, text.split(".")[:2])) for text in (one, other))
    except ValueError:
        return False
    return major == other_major and abs(minor - other_minor) <= 1


def _captured(facts: Facts) -> Finding:
    """Whether each pod whose labels ask for it carries the annotation that its agent writes."""
    what = "pods of the mesh"
    modes = {name_of(one): labels_of(one).get(MODE_LABEL) for one in facts.lists.get("namespaces", ())}
    wanted = [pod for pod in facts.lists.get("pods", ()) if _is_wanted(pod, modes)]
    left = [pod for pod in wanted if annotations_of(pod).get(REDIRECTION_ANNOTATION) != REDIRECTED]
    if not wanted:
        return good(what, "none: label a namespace (kubectl label namespace NAME istio.io/dataplane-mode=ambient)")
    if left:
        names = ", ".join(f"{namespace_of(pod)}/{name_of(pod)}" for pod in left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
        return error(
            what, f"{len(left)} of {len(wanted)} not captured: {names}", "see the pod's events, and the log of container agent on its node"
        )
    return good(what, f"{len(wanted)}, all captured")


def _is_wanted(pod: Document, modes: Mapping[str, str | None]) -> bool:
    running = pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    mode = labels_of(pod).get(MODE_LABEL, modes.get(namespace_of(pod)))
    return running and mode == AMBIENT and not pod["spec"].get("hostNetwork")


def _own_pods(facts: Facts) -> Sequence[Mapping[str, Any]]:
    return [
        pod
        for pod in facts.lists.get("pods", ())
        if namespace_of(pod) == facts.namespace and labels_of(pod).get(_NAME) in (CONTROL_PLANE, NODES)
    ]
