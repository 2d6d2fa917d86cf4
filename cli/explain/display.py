"""What `ambient explain` prints, for people and for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mesh.catalogue.changes import ObjectKey
from mesh.explain import Applying, Arrival, Explanation, Way
from mesh.model import TunnelProtocol, Workload
from mesh.policy.conditions import Condition
from mesh.policy.evaluation import Ruling

_Conditions = Mapping[ObjectKey, Sequence[Condition]]
_WAYS = {
    Way.TUNNEL: "mutual TLS to the ztunnel of {node}, as {identity}",
    Way.BESIDE: "through the ztunnel of {node}, on which both are, as {identity}",
    Way.PLAIN: "plaintext",
    Way.INSIDE: "inside the pod: the mesh has no part in it",
}


def document(source: Workload, destination: str, explained: Sequence[Explanation]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "source": _name(source),
        "destination": destination,
        "captured": _captured(source),
        "allowed": all(one.allowed for one in explained),
        "targets": [
            {
                "address": str(one.target),
                "service": one.service.key if one.service else "",
                "failure": one.failure,
                "endpoints": list(map(_endpoint, one.arrivals)),
            }
            for one in explained
        ],
    }


def _endpoint(arrival: Arrival) -> dict[str, Any]:
    ruling = arrival.ruling
    return {
        "address": str(arrival.address),
        "workload": _name(arrival.workload) if arrival.workload else "",
        "node": arrival.workload.node if arrival.workload else "",
        "way": arrival.way.value,
        "identity": str(arrival.identity or ""),
        "allowed": arrival.allowed,
        "policy": ruling.policy if ruling else "",
        "reason": ruling.reason.value if ruling else "",
        "would_deny": list(ruling.would_deny) if ruling else [],
        "policies": [
            {"name": one.policy.key, "action": one.policy.action.name, "dry_run": one.policy.dry_run, "matches": one.matches}
            for one in arrival.applying
        ],
    }


def lines(source: Workload, destination: str, explained: Sequence[Explanation], conditions: _Conditions) -> Iterator[str]:
    """The text for people. Addresses of both families of which the same is to be said stand together."""
    place = f"on {source.node}, " + (f"in the mesh as {source.identity}" if _captured(source) else "not in the mesh")
    yield f"{_name(source)} {place}"
    for service in dict.fromkeys(one.service.key for one in explained if one.service):
        yield f"{destination} is the service {service}"
    for failure in dict.fromkeys(one.failure for one in explained if one.failure):
        yield f"✗ {failure}"
    groups = _alike(arrival for one in explained for arrival in one.arrivals)
    for group in groups:
        yield ""
        yield from _group_lines(source, group, conditions)
    refused = sum(not group[0].allowed for group in groups)
    yield ""
    if all(one.allowed for one in explained):
        yield "allowed"
    else:
        yield "refused" + (f" by {refused} of {len(groups)} endpoints" if 0 < refused < len(groups) else "")


def _alike(arrivals: Iterable[Arrival]) -> list[list[Arrival]]:
    groups: dict[object, list[Arrival]] = {}
    for one in arrivals:
        uid = one.workload.uid if one.workload else str(one.address)
        said = (uid, one.address.port, one.way, one.ruling, tuple((each.policy.key, each.matches) for each in one.applying))
        groups.setdefault(said, []).append(one)
    return list(groups.values())


def _group_lines(source: Workload, group: Sequence[Arrival], conditions: _Conditions) -> Iterator[str]:
    first = group[0]
    addresses = ", ".join(dict.fromkeys(str(one.address) for one in group))
    workload = first.workload
    where = f"{_name(workload)}{f' on {workload.node}' if workload.node else ''}: " if workload else "outside the mesh: "
    yield f"{'✓' if first.allowed else '✗'} {where}{addresses}"
    yield "  " + _WAYS[first.way].format(node=workload.node if workload else "", identity=first.identity) + _why_plain(source, first)
    if workload is not None and first.way is not Way.INSIDE:
        yield "  " + (_words(first.ruling) if first.ruling else "allowed: policies are not enforced where the endpoint is not in the mesh")
    for one in first.applying:
        yield from _policy_lines(one, conditions)


def _why_plain(source: Workload, arrival: Arrival) -> str:
    if arrival.way is not Way.PLAIN:
        return ""
    if arrival.workload is None:
        return " to the address itself: the mesh has no part in it"
    if not _captured(source):
        return ": the client is not in the mesh, and proves no identity"
    if arrival.ruling is not None:
        return ": the service lists a bare address, which is not known to be this pod's, and no identity is proven"
    return ": the endpoint is not in the mesh"


def _words(ruling: Ruling) -> str:
    if not ruling.allowed:
        return f"refused by {_policy_name(ruling.policy)}: {ruling.reason.value}"
    dry_run = f"; in dry run, would be refused by {', '.join(ruling.would_deny)}" if ruling.would_deny else ""
    return f"allowed{f' by {ruling.policy}' if ruling.policy else ''}: {ruling.reason.value}{dry_run}"


def _policy_lines(one: Applying, conditions: _Conditions) -> Iterator[str]:
    policy = one.policy
    dry_run = ", in dry run" if policy.dry_run else ""
    yield f"    {policy.action.name:5}  {_policy_name(policy.key)}: {'matches' if one.matches else 'does not match'}{dry_run}"
    for condition in conditions.get(ObjectKey("AuthorizationPolicy", policy.namespace, policy.name), ()):
        if not (condition.status or policy.dry_run):
            yield f"           {condition.type}: {condition.reason}: {condition.message}"


def _policy_name(key: str) -> str:
    """Names with an underscore are of what nobody wrote: what PeerAuthentications come to."""
    return f"{key} (from PeerAuthentications)" if "_" in key else key


def _name(workload: Workload) -> str:
    return f"{workload.namespace}/{workload.name}"


def _captured(workload: Workload) -> bool:
    return workload.tunnel_protocol is TunnelProtocol.HBONE
