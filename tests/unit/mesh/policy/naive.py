"""The semantics of policies a second time: slow, from the words of the manifests, and without anything of mesh.policy.

Whether a policy is one that nobody understands is not judged here: whoever wrote it says so, under the key "broken".
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

DOMAIN, ALIASES, ROOT = "cluster.local", ("old.example", "older.example"), "istio-system"
Manifest = dict[str, Any]

L7_SOURCE = {"requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks", "trustDomains", "notTrustDomains"}
L7_OPERATION = {"hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"}
L4_KEYS = {"source.ip", "source.namespace", "source.principal", "source.serviceAccount", "destination.ip", "destination.port"}


@dataclass(frozen=True)
class Attempt:
    """A connection to one workload; `client` is (trust domain, namespace, service account), None for plaintext."""

    client: tuple[str, str, str] | None
    source_ip: str
    destination_ip: str
    port: int
    namespace: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Opinion:
    allowed: bool
    would_deny: frozenset[str] = frozenset()


def judge(policies: list[Manifest], peers: list[Manifest], absent: set[str], attempt: Attempt) -> Opinion:
    """Says what becomes of an attempt.

    Args:
        policies: AuthorizationPolicies; one under the key "broken" is not understood.
        peers: PeerAuthentications.
        absent: names of the policies that have not arrived.
    """
    ours = [one for one in policies if enforced_here(one) and selected(one, attempt)]
    if any(one["spec"].get("selector", {}).get("matchLabels") and name(one) in absent for one in ours):
        return Opinion(False)
    if attempt.client is None and asks_for_mutual_tls(peers, attempt):
        return Opinion(False)
    arrived = [one for one in ours if name(one) not in absent]
    real, rehearsed = ([one for one in arrived if dry(one) is wanted] for wanted in (False, True))
    if any(denies(one, attempt) for one in real):
        return Opinion(False)
    allowing = [one for one in real if not is_deny(one)]
    if allowing and not any(allows(one, attempt) for one in allowing):
        return Opinion(False)
    would = [name(one) for one in rehearsed if denies(one, attempt)]
    hopeful = [one for one in rehearsed if not is_deny(one)]
    if not allowing and not any(allows(one, attempt) for one in hopeful):
        would += [name(one) for one in hopeful]
    return Opinion(True, frozenset(would))


def name(policy: Manifest) -> str:
    return f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"


def dry(policy: Manifest) -> bool:
    return bool(policy["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true")


def is_deny(policy: Manifest) -> bool:
    return policy["spec"].get("action", "ALLOW") != "ALLOW"


def enforced_here(policy: Manifest) -> bool:
    """Neither for a waypoint, nor of an action that asks others."""
    spec = policy["spec"]
    return not (spec.get("targetRefs") and "selector" not in spec) and spec.get("action") not in ("CUSTOM", "AUDIT")


def selected(policy: Manifest, attempt: Attempt) -> bool:
    where = policy["metadata"]["namespace"]
    wanted = policy["spec"].get("selector", {}).get("matchLabels", {})
    return where in (attempt.namespace, ROOT) and set(wanted.items()) <= set(attempt.labels)


def denies(policy: Manifest, attempt: Attempt) -> bool:
    return is_deny(policy) and (policy["broken"] or any(could_match(rule, policy, attempt) for rule in policy["spec"].get("rules", [])))


def allows(policy: Manifest, attempt: Attempt) -> bool:
    if is_deny(policy) or policy["broken"]:
        return False
    return any(not needs_http(rule) and could_match(rule, policy, attempt) for rule in policy["spec"].get("rules", []))


def needs_http(rule: Manifest) -> bool:
    return (
        any(L7_SOURCE & set(one["source"]) for one in rule.get("from", []))
        or any(L7_OPERATION & set(one["operation"]) for one in rule.get("to", []))
        or any(one["key"] not in L4_KEYS for one in rule.get("when", []))
    )


def could_match(rule: Manifest, policy: Manifest, attempt: Attempt) -> bool:
    """Whatever needs HTTP could be as the rule says."""
    home = policy["metadata"]["namespace"]
    if "from" in rule and not any(source_fits(one["source"], home, attempt) for one in rule["from"]):
        return False
    if "to" in rule and not any(operation_fits(one["operation"], attempt) for one in rule["to"]):
        return False
    return all(condition_fits(one, home, attempt) for one in rule.get("when", []))


def source_fits(source: Manifest, home: str, attempt: Attempt) -> bool:
    return (
        agrees(source, "principals", lambda value: is_principal(value, attempt))
        and agrees(source, "namespaces", lambda value: is_namespace(value, attempt))
        and agrees(source, "serviceAccounts", lambda value: is_account(value, home, attempt))
        and agrees(source, "ipBlocks", lambda value: is_within(attempt.source_ip, value))
    )


def operation_fits(operation: Manifest, attempt: Attempt) -> bool:
    return agrees(operation, "ports", lambda value: value == str(attempt.port))


def condition_fits(when: Manifest, home: str, attempt: Attempt) -> bool:
    tests = {
        "source.principal": lambda value: is_principal(value, attempt),
        "source.namespace": lambda value: is_namespace(value, attempt),
        "source.serviceAccount": lambda value: is_account(value, home, attempt),
        "source.ip": lambda value: is_within(attempt.source_ip, value),
        "destination.ip": lambda value: is_within(attempt.destination_ip, value),
        "destination.port": lambda value: value == str(attempt.port),
    }
    return when["key"] not in tests or agrees(when, "values", tests[when["key"]])


def agrees(part: Manifest, field: str, test: Any) -> bool:
    wanted, unwanted = part.get(field), part.get("not" + field[0].upper() + field[1:])
    return (not wanted or any(map(test, wanted))) and not (unwanted and any(map(test, unwanted)))


def is_principal(pattern: str, attempt: Attempt) -> bool:
    if attempt.client is None:
        return False
    domain, namespace, account = attempt.client
    domains = (DOMAIN, *ALIASES) if domain in (DOMAIN, *ALIASES) else (domain,)
    return any(glob(pattern, f"{one}/ns/{namespace}/sa/{account}") for one in domains)


def is_namespace(pattern: str, attempt: Attempt) -> bool:
    return attempt.client is not None and glob(pattern, attempt.client[1])


def is_account(value: str, home: str, attempt: Attempt) -> bool:
    full = value if "/" in value else f"{home}/{value}"
    return attempt.client is not None and full == f"{attempt.client[1]}/{attempt.client[2]}"


def is_within(ip: str, block: str) -> bool:
    return ip_address(ip) in ip_network(block, strict=False)


def glob(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def asks_for_mutual_tls(peers: list[Manifest], attempt: Attempt) -> bool:
    """Goes from the workload's own PeerAuthentication outwards, until one says something."""
    own = first(one for one in peers if labels_of(one) and one["metadata"]["namespace"] == attempt.namespace and labels_fit(one, attempt))
    of_namespace = first(one for one in peers if not labels_of(one) and one["metadata"]["namespace"] == attempt.namespace)
    of_mesh = first(one for one in peers if not labels_of(one) and one["metadata"]["namespace"] == ROOT)
    said = [] if own is None or own["broken"] else [own["spec"].get("portLevelMtls", {}).get(str(attempt.port), {}).get("mode")]
    levels = [one for one in (own, of_namespace, of_mesh) if one is not None]
    said += ["STRICT" if one["broken"] else one["spec"].get("mtls", {}).get("mode") for one in levels]
    return next((mode for mode in said if mode in ("STRICT", "PERMISSIVE")), "PERMISSIVE") == "STRICT"


def labels_of(peer: Manifest) -> Manifest:
    return dict(peer["spec"].get("selector", {}).get("matchLabels", {}))


def labels_fit(peer: Manifest, attempt: Attempt) -> bool:
    return set(labels_of(peer).items()) <= set(attempt.labels)


def first(peers: Any) -> Manifest | None:
    """Returns the oldest; one without an age is the youngest, and of one age the name decides."""
    order = sorted(peers, key=lambda one: (one["metadata"].get("creationTimestamp", "9999"), one["metadata"]["name"]))
    return order[0] if order else None
