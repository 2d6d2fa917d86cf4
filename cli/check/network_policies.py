"""Whether a NetworkPolicy keeps tunnels out of pods of the mesh: peers reach those on port 15008, whatever port was asked for.

Source: Kubernetes API reference, NetworkPolicy v1. Pure.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.check.facts import Document, labels_of, name_of, namespace_of
from cli.check.findings import Finding, error, good, warning
from cli.check.selectors import selects
from mesh.enrolment import AMBIENT, MODE_LABEL

TUNNEL_PORT = 15008
_WHAT = "network policies"


def judge_policies(pods: Sequence[Document], namespaces: Sequence[Document], policies: Sequence[Document]) -> Iterator[Finding]:
    """Names each policy that lets somebody in on the application's port and not on the tunnel's; and pods that let in nobody at all."""
    modes = {name_of(one): labels_of(one).get(MODE_LABEL, "") for one in namespaces}
    closed: dict[tuple[str, ...], list[str]] = {}
    sealed: dict[tuple[str, ...], list[str]] = {}
    for pod in (one for one in pods if _in_mesh(one, modes)):
        selecting = [one for one in policies if namespace_of(one) == namespace_of(pod) and _selects(one, pod)]
        rules = [(one, rule) for one in selecting for rule in one["spec"].get("ingress") or ()]
        tunnels = [rule for _, rule in rules if _admits(rule, pod, TUNNEL_PORT)]
        lacking = tuple(dict.fromkeys(_named(one) for one, rule in rules if rule not in tunnels and not _covered(rule, tunnels)))
        if lacking:
            closed.setdefault(lacking, []).append(_named(pod))
        elif selecting and not rules:
            sealed.setdefault(tuple(map(_named, selecting)), []).append(_named(pod))
    for names, selected in closed.items():
        yield error(
            f"{_WHAT}: {', '.join(names)}",
            f"port {TUNNEL_PORT} is closed to those who may reach {_some(selected)}",
            f"add a port {TUNNEL_PORT} (TCP) beside the ports of each ingress rule: tunnels of the mesh arrive there",
        )
    for names, selected in sealed.items():
        yield warning(
            f"{_WHAT}: {', '.join(names)}",
            f"nobody may reach {_some(selected)}",
            "nothing, if it is meant: the mesh cannot open what is closed",
        )
    if not closed and not sealed:
        yield good(_WHAT, f"none closes port {TUNNEL_PORT} to a pod of the mesh")


def _in_mesh(pod: Document, modes: Mapping[str, str]) -> bool:
    finished = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    mode = labels_of(pod).get(MODE_LABEL, modes.get(namespace_of(pod)))
    return mode == AMBIENT and not pod["spec"].get("hostNetwork") and not finished


def _selects(policy: Document, pod: Document) -> bool:
    """A policy that does not say what it is about is about what comes in."""
    spec = policy["spec"]
    return "Ingress" in (spec.get("policyTypes") or ["Ingress"]) and selects(spec.get("podSelector") or {}, labels_of(pod))


def _admits(rule: Mapping[str, Any], pod: Document, wanted: int) -> bool:
    ports = rule.get("ports")
    return not ports or any(_is_port(one, pod, wanted) for one in ports)


def _is_port(port: Mapping[str, Any], pod: Document, wanted: int) -> bool:
    if port.get("protocol", "TCP") != "TCP":
        return False
    number = port.get("port")
    if number is None:
        return True
    if isinstance(number, str):
        containers = pod["spec"].get("containers") or ()
        return any(
            one.get("name") == number and one.get("containerPort") == wanted
            for container in containers
            for one in container.get("ports") or ()
        )
    return bool(number <= wanted <= port.get("endPort", number))


def _covered(rule: Mapping[str, Any], tunnels: Sequence[Mapping[str, Any]]) -> bool:
    """Whether everybody whom the rule lets in may also reach the tunnel's port; one rule that lets in all of the same peers is enough."""
    wanted = {_canonical(peer) for peer in rule.get("from") or ()}
    for tunnel in tunnels:
        peers = {_canonical(peer) for peer in tunnel.get("from") or ()}
        if not peers or (wanted and wanted <= peers):
            return True
    ports: Sequence[Mapping[str, Any]] = rule.get("ports") or ({},)
    return not any(one.get("protocol", "TCP") == "TCP" for one in ports)


def _canonical(peer: object) -> str:
    return json.dumps(peer, sort_keys=True)


def _named(document: Document) -> str:
    return f"{namespace_of(document)}/{name_of(document)}"


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
