"""Policy in decisions: who is let in, who is refused and how that reads, and what is waited for."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from mesh.identity import Identity
from mesh.model import BalancingMode, LoadBalancing
from mesh.policy.evaluation import PolicyBook
from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope, TextMatch, TextMatchKind
from tests.unit.ztunnel.fakes import policies_told, service, workload
from tests.unit.ztunnel.test_decisions import CLIENT, CLIENT_ID, DEFAULT_ID, WEB, World, only
from ztunnel.config import NodeSettings
from ztunnel.decisions import hostnames_of
from ztunnel.discovery.policies import Policies
from ztunnel.engine.interface import Cause, Direct, Direction, Flow, Local, Reject, Tunnel
from ztunnel.surroundings import same_identities
from ztunnel.verdict import Verdict

ALLOW, DENY = PolicyAction.ALLOW, PolicyAction.DENY
BUYER = Match(principals=(TextMatch(TextMatchKind.EXACT, CLIENT_ID.removeprefix("spiffe://")),))
DEFAULT = Match(principals=(TextMatch(TextMatchKind.EXACT, DEFAULT_ID.removeprefix("spiffe://")),))


def policy(
    action: PolicyAction, *matches: Match, name: str = "a", scope: PolicyScope = PolicyScope.NAMESPACE, dry_run: bool = False
) -> Authorization:
    rules = ((matches,),) if matches else ()
    return Authorization(name, "shop", scope, action, rules, dry_run)


def ports(*numbers: int) -> Match:
    return Match(destination_ports=numbers)


def sources(network: str) -> Match:
    return Match(source_ips=(ip_network(network),))


def assert_denied(verdict: Verdict, detail: str, status: int = 401) -> Reject:
    action = only(verdict)
    assert isinstance(action, Reject)
    assert (action.status, action.cause) == (status, Cause.DENIED)
    assert detail in action.detail
    return action


class TestInbound:
    @pytest.mark.parametrize(
        ("held", "tunnelled", "plain"),
        [
            ((), True, True),
            ((policy(ALLOW, DEFAULT),), True, False),
            ((policy(ALLOW, BUYER),), False, False),
            ((policy(DENY, DEFAULT),), False, True),
            ((policy(ALLOW),), False, False),
            ((policy(DENY),), True, True),
            ((policy(DENY, Match(not_principals=(TextMatch(TextMatchKind.PRESENCE),))),), True, False),
            ((policy(DENY, ports(8080)),), False, False),
            ((policy(DENY, ports(80)),), True, True),
            ((policy(ALLOW, Match()),), False, False),
            ((policy(DENY, Match()),), False, False),
        ],
    )
    def test_policy_decides_over_tunnels_and_plaintext_alike(self, held: tuple[Authorization, ...], tunnelled: bool, plain: bool) -> None:
        world = World(workload("web-1", "10.0.2.1"))
        world.policies.apply(policies_told(*held))
        for verdict, allowed in ((world.hbone("10.0.1.1:8080"), tunnelled), (world.plaintext("10.0.1.1:8080"), plain)):
            if allowed:
                assert isinstance(only(verdict), Direct)
            else:
                assert_denied(verdict, "denied by policy shop/a: ")

    def test_a_denial_says_which_policy_why_and_to_where(self) -> None:
        world = World()
        world.policies.apply(policies_told(policy(ALLOW)))
        action = assert_denied(world.hbone("10.0.1.1:8080"), "")
        assert action.detail == "denied by policy shop/a: no ALLOW policy matches, to 10.0.1.1:8080"

    @pytest.mark.parametrize(("network", "let_in"), [("10.0.2.9/32", True), ("10.0.2.0/24", True), ("10.0.3.0/24", False)])
    def test_the_source_is_the_clients_address(self, network: str, let_in: bool) -> None:
        world = World()
        world.policies.apply(policies_told(policy(ALLOW, sources(network))))
        assert isinstance(only(world.plaintext("10.0.1.1:8080", source="10.0.2.9")), Direct) == let_in
        assert isinstance(only(world.hbone("10.0.1.1:8080", source="10.0.2.9")), Direct) == let_in

    def test_a_link_local_client_is_one_without_its_zone(self) -> None:
        world = World()
        assert isinstance(only(world.plaintext("[fd00:1::1]:8080", source="fe80::1%eth0")), Direct)

    def test_before_the_policies_are_told_nobody_gets_in(self) -> None:
        world = World()
        unsynced = Policies(PolicyBook("cluster.local"), "istio-system")
        world.around = replace(world.around, policies=unsynced)
        for verdict in (world.hbone("10.0.1.1:8080"), world.plaintext("10.0.1.1:8080")):
            assert_denied(verdict, "has not told the policies yet", status=503)
            assert not verdict.decision.cache

    def test_what_was_told_of_a_pod_of_another_node_says_nothing_of_one_of_that_name_here(self) -> None:
        """The policies of a namespace come with word of its pods here; a peer of ours elsewhere brought only itself."""
        world = World(replace(CLIENT, node="n2"), known=False)
        for verdict in (world.hbone("10.0.1.1:8080"), world.plaintext("10.0.1.1:8080")):
            action = only(verdict)
            assert isinstance(action, Reject)
            assert (action.status, action.cause, verdict.decision.cache) == (503, Cause.NO_UPSTREAM, False)

    def test_a_policy_that_the_pod_lists_and_that_is_not_there_denies(self) -> None:
        listing = replace(CLIENT, policies=("shop/announced",))
        world = World(listing, known=False)
        assert_denied(world.hbone("10.0.1.1:8080"), "denied by policy shop/announced: a policy that applies has not arrived")
        world.policies.apply(policies_told(policy(DENY, name="announced", scope=PolicyScope.SELECTOR)))
        assert isinstance(only(world.hbone("10.0.1.1:8080")), Direct)

    @pytest.mark.parametrize("namespace", ["shop", "istio-system"])
    def test_a_policy_that_cannot_be_read_denies(self, namespace: str) -> None:
        world = World()
        world.policies.apply(policies_told(refused=(f"{namespace}/bad",)))
        assert_denied(world.hbone("10.0.1.1:8080"), f"denied by policy {namespace}/bad: it applies and cannot be read")
        world.policies.apply(policies_told(removed=(f"{namespace}/bad",)))
        assert isinstance(only(world.hbone("10.0.1.1:8080")), Direct)

    def test_what_is_denied_has_the_labels_of_what_would_be_let_in(self) -> None:
        backed = replace(CLIENT, services=workload("x", services={WEB: {80: 8080}}).services)
        world = World(backed, workload("web-1", "10.0.2.1"), service("web", "10.96.0.1"), known=False)
        let_in = world.labels_of(only(world.hbone("10.0.1.1:8080")))
        world.policies.apply(policies_told(policy(ALLOW)))
        verdict = world.hbone("10.0.1.1:8080")
        assert world.labels_of(only(verdict)) == let_in
        assert (let_in.service.name, let_in.source.pod, let_in.reporter) == ("web", "web-1", "destination")
        assert verdict.decision.cache, "asked again and again, it costs one decision"

    def test_a_denied_peer_can_fill_neither_reports_nor_the_flow_table(self) -> None:
        world = World()
        world.policies.apply(policies_told(policy(ALLOW)))
        verdicts = [world.hbone(f"10.0.1.1:{port}") for port in range(1, 200)]
        assert len(world.labels) == 1
        assert not any(verdict.decision.cache for verdict in verdicts)

    def test_a_policy_in_dry_run_lets_in_and_is_told(self) -> None:
        world = World()
        world.policies.apply(policies_told(policy(DENY, DEFAULT, dry_run=True)))
        verdict = world.hbone("10.0.1.1:8080")
        assert isinstance(only(verdict), Direct)
        assert verdict.would_deny == ("shop/a",)
        assert world.plaintext("10.0.1.1:8080").would_deny == ()


class TestLocal:
    """Both pods on this node: the client is `client`, account `buyer`."""

    def world(self, *held: Authorization) -> World:
        world = World(workload("web-1", "10.0.1.2", node="n1", services={WEB: {80: 8080}}), service("web", "10.96.0.1"))
        world.join("web-1")
        world.policies.apply(policies_told(*held))
        return world

    @pytest.mark.parametrize(
        ("held", "allowed"),
        [((), True), ((policy(ALLOW, BUYER),), True), ((policy(ALLOW, DEFAULT),), False), ((policy(DENY, ports(8080)),), False)],
    )
    def test_it_is_decided_as_the_other_nodes_ztunnel_would(self, held: tuple[Authorization, ...], allowed: bool) -> None:
        world = self.world(*held)
        verdict = world.outbound("10.96.0.1:80")
        if allowed:
            assert isinstance(only(verdict), Local)
        else:
            action = assert_denied(verdict, "denied by policy shop/a: ")
            labels = world.labels_of(action)
            assert (labels.reporter, labels.source.pod, labels.destination.pod, labels.secure) == ("destination", "client", "web-1", True)
            assert verdict.decision.cache

    def test_the_source_is_the_pods_address_of_the_same_family(self) -> None:
        world = self.world(policy(ALLOW, sources("10.0.1.1/32")))
        assert isinstance(only(world.outbound("10.0.1.2:8080")), Local)

    @pytest.mark.parametrize("port", [15001, 15006, 15008, 15053])
    def test_a_port_of_this_proxy_in_the_other_pod_is_refused_as_from_afar(self, port: int) -> None:
        action = only(self.world().outbound(f"10.0.1.2:{port}"))
        assert isinstance(action, Reject)
        assert (action.status, action.cause) == (400, Cause.BAD_AUTHORITY)

    def test_while_the_pods_own_address_is_not_known_it_waits(self) -> None:
        world = World(workload("web-1", "10.0.1.2", node="n1"), known=False)
        world.join("web-1")
        verdict = world.outbound("10.0.1.2:8080")
        assert_denied(verdict, "address is not known yet", status=503)
        assert not verdict.decision.cache

    def test_a_pod_that_has_just_started_comes_from_where_its_namespace_says(self) -> None:
        """The control plane hears of its address a second later."""
        world = World(workload("web-1", "10.0.1.2", node="n1"), known=False, addresses=(ip_address("10.0.1.1"),))
        world.join("web-1")
        world.policies.apply(policies_told(policy(ALLOW, sources("10.0.1.1/32"))))
        assert isinstance(only(world.outbound("10.0.1.2:8080")), Local)

    def test_one_denied_of_several_is_denied_its_turns_only(self) -> None:
        world = World(
            service("web", "10.96.0.1"),
            workload("web-1", "10.0.1.2", node="n1", services={WEB: {80: 8080}}),
            workload("web-2", "10.0.2.2", services={WEB: {80: 8080}}),
        )
        world.join("web-1")
        world.policies.apply(policies_told(policy(DENY, ports(8080))))
        kinds = sorted(type(action).__name__ for action in world.outbound("10.96.0.1:80").decision.choices)
        assert kinds == ["Reject", "Tunnel"]

    def test_dry_run(self) -> None:
        world = self.world(policy(DENY, ports(8080), dry_run=True))
        verdict = world.outbound("10.96.0.1:80")
        assert isinstance(only(verdict), Local)
        assert verdict.would_deny == ("shop/a",)


ALIASED = NodeSettings("n1", "cluster.local", "Kubernetes", "", ("old.example", "older.example"))


class TestTrustDomains:
    def test_a_peer_of_an_alias_is_accepted_and_labelled_by_what_it_proved(self) -> None:
        world = World(workload("web-1", "10.0.2.1"))
        world.around = replace(world.around, node=ALIASED)
        peer = "spiffe://old.example/ns/shop/sa/default"
        action = only(world.hbone("10.0.1.1:8080", peer=peer))
        assert isinstance(action, Direct)
        assert (world.labels_of(action).source.pod, world.labels_of(action).source.identity) == ("web-1", peer)
        assert_denied(world.hbone("10.0.1.1:8080", peer="spiffe://evil.example/ns/shop/sa/default"), "trust domain")

    def test_a_policy_matches_an_identity_under_either_name(self) -> None:
        world = World()
        book = Policies(PolicyBook("cluster.local", ALIASED.trust_domain_aliases), "istio-system")
        book.apply(policies_told(policy(ALLOW, DEFAULT)))
        world.around = replace(world.around, node=ALIASED, policies=book)
        assert isinstance(only(world.hbone("10.0.1.1:8080", peer="spiffe://old.example/ns/shop/sa/default")), Direct)
        assert_denied(world.hbone("10.0.1.1:8080", peer="spiffe://old.example/ns/shop/sa/other"), "shop/a")

    def test_a_tunnel_expects_the_workload_under_any_name(self) -> None:
        world = World(workload("web-1", "10.0.2.1"))
        world.around = replace(world.around, node=ALIASED)
        action = only(world.outbound("10.0.2.1:80"))
        assert isinstance(action, Tunnel)
        rest = "/ns/shop/sa/default"
        assert action.peer_identities == (f"spiffe://cluster.local{rest}", f"spiffe://old.example{rest}", f"spiffe://older.example{rest}")

    def test_an_identity_of_a_foreign_domain_has_one_name(self) -> None:
        foreign = Identity("partner.example", "shop", "default")
        assert same_identities(foreign, ALIASED) == (foreign,)
        aliased = Identity("older.example", "shop", "default")
        assert [identity.trust_domain for identity in same_identities(aliased, ALIASED)] == [
            "older.example",
            "cluster.local",
            "old.example",
        ]

    def test_endpoints_may_prove_the_services_names_instead(self) -> None:
        names = ("spiffe://cluster.local/ns/shop/sa/gateway", DEFAULT_ID)
        web = replace(service("web", "10.96.0.1"), subject_alt_names=names)
        action = only(World(web, workload("web-1", "10.0.2.1", services={WEB: {80: 8080}})).outbound("10.96.0.1:80"))
        assert isinstance(action, Tunnel)
        assert action.peer_identities == (DEFAULT_ID, names[0])


class TestBalancing:
    def test_weights_give_turns(self) -> None:
        pods = [workload(f"web-{number}", f"10.0.2.{number}", services={WEB: {80: 8080}}, capacity=number) for number in (1, 3)]
        choices = World(service("web", "10.96.0.1"), *pods).outbound("10.96.0.1:80").decision.choices
        hops = [action.next_hop[0] for action in choices if isinstance(action, Tunnel)]
        assert sorted(hops) == ["10.0.2.1", "10.0.2.3", "10.0.2.3", "10.0.2.3"]
        assert len({action.report for action in choices}) == 2

    def test_affinity_gives_one(self) -> None:
        sticky = replace(service("web", "10.96.0.1"), load_balancing=LoadBalancing(affinity_s=60))
        pods = [workload(f"web-{number}", f"10.0.2.{number}", services={WEB: {80: 8080}}) for number in range(1, 5)]
        world = World(sticky, *pods)
        taken = set()
        for turn in range(4):
            world.around = replace(world.around, turn=turn)
            taken.add(only(world.outbound("10.96.0.1:80")))
        assert len(taken) == 1

    def test_passthrough_keeps_the_address_and_the_services_name(self) -> None:
        web = replace(service("web", "10.96.0.1"), load_balancing=LoadBalancing(mode=BalancingMode.PASSTHROUGH))
        world = World(web)
        action = only(world.outbound("10.96.0.1:80"))
        assert action == Direct(("10.96.0.1", 80), keep_source=False, report=1)
        assert world.labels_of(action).service.name == "web"

    def test_an_endpoint_outside_the_mesh_with_a_hostname(self) -> None:
        named = workload("db", mesh=False, services={WEB: {80: 5432}}, hostname="db.example")
        world = World(service("web", "10.96.0.1"), named)
        flow = Flow(1, Direction.OUTBOUND, "", "10.96.0.1:80", "")
        assert hostnames_of(flow, world.around) == ("db.example",)
        assert_no_upstream(world.outbound("10.96.0.1:80"))
        world.around = replace(world.around, addresses_of=lambda name: (ip_address("192.0.2.7"),))
        assert only(world.outbound("10.96.0.1:80")) == Direct(("192.0.2.7", 5432), keep_source=False, report=2)


def assert_no_upstream(verdict: Verdict) -> None:
    action = only(verdict)
    assert isinstance(action, Reject)
    assert action.cause is Cause.NO_UPSTREAM


def test_names_of_others_flows_need_no_lookup() -> None:
    world = World(service("web", "10.96.0.1"))
    for flow in (
        Flow(1, Direction.INBOUND_HBONE, "10.0.2.1", "10.0.1.1:80", DEFAULT_ID),
        Flow(9, Direction.OUTBOUND, "", "10.96.0.1:80", ""),
        Flow(1, Direction.OUTBOUND, "", "nonsense", ""),
    ):
        assert hostnames_of(flow, world.around) == ()
