"""What /config_dump shows: everything that decisions are made from. Never a key. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from mesh.model import Service, Workload
from mesh.policy.model import Authorization, Match, ServiceAccountMatch, TextMatch, TextMatchKind
from ztunnel.certificates.request import Certificate, printable_time
from ztunnel.certificates.trust import Trust, read_lists, read_roots
from ztunnel.discovery.policies import Policies
from ztunnel.discovery.store import Resource
from ztunnel.engine.interface import Counters, EngineState
from ztunnel.pods import LocalPod
from ztunnel.telemetry.labels import destination_fields, source_fields
from ztunnel.telemetry.reports import Report

Json = dict[str, Any]


def dump_resources(resources: Iterable[Resource]) -> tuple[list[Json], list[Json]]:
    """Returns the workloads and the services, by name."""
    held = list(resources)
    workloads = sorted((one for one in held if isinstance(one, Workload)), key=lambda one: one.uid)
    services = sorted((one for one in held if isinstance(one, Service)), key=lambda one: one.key)
    return [_workload(one) for one in workloads], [_service(one) for one in services]


def dump_pods(pods: Iterable[LocalPod], policies_of: Callable[[LocalPod], Json]) -> list[Json]:
    return [
        {
            **asdict(pod.info),
            "number": pod.number,
            "identity": str(pod.identity),
            "workload": pod.workload_uid,
            "netns_inode": pod.netns[1],
            "policies": policies_of(pod),
        }
        for pod in sorted(pods, key=lambda pod: pod.number)
    ]


def effective_policies(pod: LocalPod, workload: Workload | None, policies: Policies) -> Json:
    """Returns the policies that hold for a pod, those among them that have not arrived, and the one that cannot be read and so denies."""
    effective = policies.effective(pod.info.namespace, workload.policies if workload else ())
    return {
        "effective": list(effective),
        "missing": [key for key in effective if policies.get(key) is None],
        "denied_by_unreadable": policies.blocking(pod.info.namespace) or None,
    }


def dump_policies(policies: Iterable[Authorization]) -> list[Json]:
    """Returns the policies that are held, by name."""
    return [
        {
            "name": policy.key,
            "scope": policy.scope.name,
            "action": policy.action.name,
            "dry_run": policy.dry_run,
            "rules": [[[_match(match) for match in clause] for clause in rule] for rule in policy.rules],
        }
        for policy in sorted(policies, key=lambda policy: policy.key)
    ]


def dump_trust(trust: Trust | None) -> Json:
    """Returns the roots that are believed and how many certificates are revoked; both empty before there was a bundle."""
    roots = read_roots(trust.roots) if trust else []
    shown = [{"subject": root.subject.rfc4514_string(), "serial": f"{root.serial_number:x}"} for root in roots]
    return {"roots": shown, "revoked": sum(map(len, read_lists(trust.revoked))) if trust else 0}


def dump_certificates(held: Mapping[str, Certificate], missing: Iterable[str], now_s: float) -> list[Json]:
    shown = [
        {
            "identity": identity,
            "state": "valid" if certificate.validity.not_after_s > now_s else "expired",
            "serial": certificate.serial,
            "not_before": printable_time(certificate.validity.not_before_s),
            "not_after": printable_time(certificate.validity.not_after_s),
        }
        for identity, certificate in sorted(held.items())
    ]
    return shown + [{"identity": identity, "state": "missing"} for identity in sorted(missing)]


def dump_engine(name: str, state: EngineState) -> Json:
    return {"name": name, **asdict(state)}


def dump_flows(reports: Iterable[Report], counters: Iterable[Counters]) -> list[Json]:
    """Returns what is told apart and has carried connections, with the engine's counters."""
    by_number = {counter.report: counter for counter in counters}
    return [_flow(report, by_number[report.number]) for report in reports if report.number in by_number]


def _match(match: Match) -> Json:
    """Returns the fields that have values."""
    return {field.name: [_value(one) for one in values] for field in fields(match) if (values := getattr(match, field.name))}


def _value(value: object) -> object:
    match value:
        case TextMatch(kind, text):
            return {TextMatchKind.PREFIX: f"{text}*", TextMatchKind.SUFFIX: f"*{text}", TextMatchKind.PRESENCE: "*"}.get(kind, text)
        case ServiceAccountMatch(namespace, name):
            return f"{namespace}/{name}"
        case int():
            return value
        case _:
            return str(value)


def _flow(report: Report, counter: Counters) -> Json:
    labels = {key: value for key, value in (*source_fields(report.labels), *destination_fields(report.labels)) if value is not None}
    return {**labels, **asdict(counter)}


def _workload(workload: Workload) -> Json:
    return {
        "uid": workload.uid,
        "identity": str(workload.identity),
        "addresses": list(map(str, workload.addresses)),
        "network": workload.network,
        "node": workload.node,
        "protocol": workload.tunnel_protocol.value,
        "healthy": workload.healthy,
        "workload_name": workload.workload_name,
        "canonical_name": workload.canonical_name,
        "canonical_revision": workload.canonical_revision,
        "hostname": workload.hostname,
        "locality": asdict(workload.locality),
        "capacity": workload.capacity,
        "policies": list(workload.policies),
        "services": {key: [asdict(port) for port in ports] for key, ports in workload.services.items()},
    }


def _service(service: Service) -> Json:
    return {
        "name": service.key,
        "addresses": list(map(str, service.addresses)),
        "network": service.network,
        "ports": [asdict(port) for port in service.ports],
        "load_balancing": {
            "mode": service.load_balancing.mode.name,
            "preference": [scope.name for scope in service.load_balancing.preference],
            "unready_too": service.load_balancing.unready_too,
            "affinity_s": service.load_balancing.affinity_s,
        },
        "subject_alt_names": list(service.subject_alt_names),
    }
