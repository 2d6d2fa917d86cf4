"""The configuration dump is complete, and never holds a key."""

import json
from ipaddress import ip_network

from mesh.identity import Identity
from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope, ServiceAccountMatch, TextMatch, TextMatchKind
from tests.unit.ztunnel.fakes import policies_of, policies_told, service, workload
from tests.unit.ztunnel.pki import Root
from ztunnel.admin import dump
from ztunnel.admin.readiness import obstacles
from ztunnel.certificates.request import Certificate
from ztunnel.certificates.schedule import Validity
from ztunnel.certificates.trust import Trust
from ztunnel.engine.interface import Counters, Credentials, EngineState
from ztunnel.pods import LocalPods, PodInfo
from ztunnel.telemetry.labels import Labels, Party
from ztunnel.telemetry.reports import Reports

WEB = "shop/web.shop.svc.cluster.local"


def test_workloads_and_services() -> None:
    workloads, services = dump.dump_resources(
        [service("web", "10.96.0.1"), workload("b", "fd00::1", services={WEB: {80: 8080}}), workload("a")]
    )
    assert [one["uid"] for one in workloads] == ["Kubernetes//Pod/shop/a", "Kubernetes//Pod/shop/b"]
    assert workloads[1]["addresses"] == ["fd00::1"]
    assert workloads[1]["services"] == {WEB: [{"service_port": 80, "target_port": 8080}]}
    assert services[0]["name"] == WEB
    json.dumps([workloads, services])


def test_pods() -> None:
    pods = LocalPods("Kubernetes", "cluster.local")
    pods.put(pods.describe(PodInfo("u-1", "client", "shop", "buyer"), (4, 4026532000)))
    (pod,) = dump.dump_pods(pods, lambda pod: {"of": pod.info.name})
    assert pod["policies"] == {"of": "client"}
    assert (pod["uid"], pod["identity"], pod["netns_inode"]) == ("u-1", "spiffe://cluster.local/ns/shop/sa/buyer", 4026532000)


def test_policies_with_what_they_match() -> None:
    match = Match(
        principals=(TextMatch(TextMatchKind.PREFIX, "cluster.local/"), TextMatch(TextMatchKind.PRESENCE)),
        not_namespaces=(TextMatch(TextMatchKind.SUFFIX, "-dev"), TextMatch(TextMatchKind.EXACT, "bank")),
        service_accounts=(ServiceAccountMatch("shop", "buyer"),),
        source_ips=(ip_network("10.0.0.0/8"),),
        destination_ports=(80,),
    )
    policy = Authorization("a", "shop", PolicyScope.NAMESPACE, PolicyAction.DENY, (((match,),),), dry_run=True)
    (shown,) = dump.dump_policies([policy])
    assert (shown["name"], shown["scope"], shown["action"], shown["dry_run"]) == ("shop/a", "NAMESPACE", "DENY", True)
    assert json.loads(json.dumps(shown["rules"])) == [
        [
            [
                {
                    "not_namespaces": ["*-dev", "bank"],
                    "service_accounts": ["shop/buyer"],
                    "principals": ["cluster.local/*", "*"],
                    "source_ips": ["10.0.0.0/8"],
                    "destination_ports": [80],
                }
            ]
        ]
    ]


def test_the_policies_of_a_pod_and_what_is_wrong_with_them() -> None:
    pods = LocalPods("Kubernetes", "cluster.local")
    pod = pods.describe(PodInfo("u-1", "client", "shop", "buyer"), (4, 1))
    policies = policies_of(Authorization("near", "shop", PolicyScope.NAMESPACE, PolicyAction.DENY, ()))
    own = workload("client", "10.0.1.1", policies=("shop/listed",))
    shown = dump.effective_policies(pod, own, policies)
    assert shown == {"effective": ["shop/listed", "shop/near"], "missing": ["shop/listed"], "denied_by_unreadable": None}
    policies.apply(policies_told(refused=("shop/bad",)))
    assert dump.effective_policies(pod, None, policies)["denied_by_unreadable"] == "shop/bad"


def test_certificates_show_their_end_and_no_key() -> None:
    credentials = Credentials(b"CHAIN", b"SECRET", b"ROOTS")
    held = {
        str(Identity("cluster.local", "shop", name)): Certificate(credentials, Validity(0, end), "ab")
        for name, end in (("old", 5), ("new", 50))
    }
    shown = dump.dump_certificates(held, ["spiffe://cluster.local/ns/shop/sa/none"], 10.0)
    assert [(one["identity"].rpartition("/")[2], one["state"]) for one in shown] == [
        ("new", "valid"),
        ("old", "expired"),
        ("none", "missing"),
    ]
    assert shown[0]["not_after"] == "1970-01-01T00:00:50Z"
    assert "SECRET" not in json.dumps(shown)


def test_flows_are_those_that_carried_something() -> None:
    reports = Reports()
    number = reports.number(Labels("source", Party(pod="client"), Party()))
    reports.number(Labels("source", Party(pod="quiet"), Party()))
    (flow,) = dump.dump_flows(reports, [Counters(number, 2, 1, 0, 10, 20)])
    assert (flow["src.workload"], flow["direction"], flow["opened"], flow["sent_bytes"]) == ("client", "outbound", 2, 10)
    assert dump.dump_engine("python", EngineState(1, 2, 3, 4, 5))["tunnels"] == 3


def test_readiness_says_what_it_waits_for() -> None:
    assert obstacles(True, True, ()) == ()
    found = obstacles(False, False, ["spiffe://cluster.local/ns/shop/sa/buyer"])
    assert [reason.split()[1] for reason in found] == ["control", "agent", "certificate"]


def test_trust_is_told_by_root_and_by_number() -> None:
    old, new = Root("old"), Root("new")
    trust = Trust((old.pem + new.pem).encode(), old.revokes(1, 2) + new.revokes(3))
    shown = dump.dump_trust(trust)
    assert [root["subject"] for root in shown["roots"]] == ["CN=old", "CN=new"]
    assert shown["revoked"] == 3
    assert dump.dump_trust(None) == {"roots": [], "revoked": 0}
