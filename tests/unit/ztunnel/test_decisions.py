"""Every decision: what the engine is told for a flow, given what the node knows."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model import IPAddress, Service, Workload
from tests.unit.ztunnel.fakes import NODE, policies_of, service, store_of, workload
from ztunnel.decisions import decide, names_needed
from ztunnel.discovery.policies import POLICIES
from ztunnel.engine.interface import Action, Cause, Direct, Direction, Flow, Local, Reject, Tunnel
from ztunnel.outbound import MAX_CHOICES
from ztunnel.pods import LocalPods, PodInfo
from ztunnel.surroundings import Surroundings
from ztunnel.telemetry.labels import Labels
from ztunnel.verdict import Verdict

WEB = "shop/web.shop.svc.cluster.local"
CLIENT_ID = "spiffe://cluster.local/ns/shop/sa/buyer"
DEFAULT_ID = "spiffe://cluster.local/ns/shop/sa/default"
BAGGAGE = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=client-app,service.name=client,service.version=v1"
CLIENT = workload("client", "10.0.1.1", "fd00:1::1", node="n1", account="buyer", workload_name="client-app", canonical_revision="v1")


class World:
    """This node with the pod `client` (number 1) and what else a test puts there."""

    def __init__(self, *resources: Workload | Service, known: bool = True, addresses: tuple[IPAddress, ...] = ()) -> None:
        self.pods = LocalPods("Kubernetes", "cluster.local")
        self.join("client", "buyer", addresses)
        self.labels: list[Labels] = []
        self.policies = policies_of()
        self.around = Surroundings(NODE, store_of(*((CLIENT,) if known else ()), *resources), self.pods, self.policies, self._report)

    def join(self, name: str, account: str = "default", addresses: tuple[IPAddress, ...] = ()) -> None:
        self.pods.put(self.pods.describe(PodInfo(f"u-{name}", name, "shop", account), (4, 1), addresses))

    def _report(self, labels: Labels) -> int:
        if labels not in self.labels:
            self.labels.append(labels)
        return self.labels.index(labels) + 1

    def outbound(self, destination: str) -> Verdict:
        return decide(Flow(1, Direction.OUTBOUND, "", destination, ""), self.around)

    def plaintext(self, destination: str, source: str = "10.0.2.9") -> Verdict:
        return decide(Flow(1, Direction.INBOUND_PLAINTEXT, source, destination, ""), self.around)

    def hbone(self, authority: str, peer: str = DEFAULT_ID, source: str = "10.0.2.1") -> Verdict:
        return decide(Flow(1, Direction.INBOUND_HBONE, source, authority, peer), self.around)

    def labels_of(self, action: Action) -> Labels:
        return self.labels[action.report - 1]


def only(verdict: Verdict) -> Action:
    (action,) = verdict.decision.choices
    return action


def assert_rejected(verdict: Verdict, status: int, cause: Cause, reason: str, cached: bool = False) -> None:
    action = only(verdict)
    assert isinstance(action, Reject)
    assert (action.status, action.cause, verdict.decision.cache) == (status, cause, cached)
    assert reason in action.detail


class TestOutbound:
    def test_a_pod_of_the_mesh_on_another_node_is_tunnelled_to(self) -> None:
        world = World(workload("web-1", "10.0.2.1"))
        action = only(world.outbound("10.0.2.1:8080"))
        assert action == Tunnel(
            next_hop=("10.0.2.1", 15008),
            authority="10.0.2.1:8080",
            headers=(("baggage", BAGGAGE),),
            source_identity=CLIENT_ID,
            peer_identities=(DEFAULT_ID,),
            report=1,
        )
        labels = world.labels_of(action)
        assert (labels.reporter, labels.secure, labels.hbone_address) == ("source", True, "10.0.2.1:8080")
        assert (labels.source.identity, labels.destination.identity) == (CLIENT_ID, DEFAULT_ID)

    def test_over_ipv6_the_authority_has_brackets(self) -> None:
        action = only(World(workload("web-1", "fd00:2::1")).outbound("[fd00:2::1]:8080"))
        assert isinstance(action, Tunnel)
        assert (action.next_hop, action.authority) == (("fd00:2::1", 15008), "[fd00:2::1]:8080")

    def test_a_service_is_spread_over_its_ready_pods(self) -> None:
        backs = {WEB: {80: 8080}}
        pods = [workload(f"web-{number}", f"10.0.2.{number}", services=backs) for number in (1, 2, 3)]
        unready = workload("web-4", "10.0.2.4", services=backs, healthy=False)
        world = World(service("web", "10.96.0.1"), *pods, unready)
        verdict = world.outbound("10.96.0.1:80")
        hops = {action.next_hop for action in verdict.decision.choices if isinstance(action, Tunnel)}
        assert hops == {("10.0.2.1", 15008), ("10.0.2.2", 15008), ("10.0.2.3", 15008)}
        assert len({action.report for action in verdict.decision.choices}) == 3
        labels = world.labels_of(verdict.decision.choices[0])
        assert (labels.service.hostname, labels.service.name, labels.service.namespace) == ("web.shop.svc.cluster.local", "web", "shop")

    def test_deciding_anew_does_not_begin_with_the_same_pod(self) -> None:
        pods = [workload(f"web-{number}", f"10.0.2.{number}", services={WEB: {80: 8080}}) for number in (1, 2, 3)]
        world = World(service("web", "10.96.0.1"), *pods)
        firsts = set()
        for turn in range(3):
            around = replace(world.around, turn=turn)
            action = decide(Flow(1, Direction.OUTBOUND, "", "10.96.0.1:80", ""), around).decision.choices[0]
            assert isinstance(action, Tunnel)
            firsts.add(action.authority)
        assert len(firsts) == 3

    def test_a_large_service_gives_a_bounded_part_of_it(self) -> None:
        pods = [
            workload(f"w{number}", str(ip_address("10.1.0.1") + number), services={WEB: {80: 8080}}) for number in range(MAX_CHOICES + 50)
        ]
        assert len(World(service("web", "10.96.0.1"), *pods).outbound("10.96.0.1:80").decision.choices) == MAX_CHOICES

    def test_a_pod_of_this_node_is_reached_inside_it(self) -> None:
        world = World(workload("web-1", "10.0.1.2", node="n1"))
        world.join("web-1")
        action = only(world.outbound("10.0.1.2:8080"))
        assert action == Local(pod=2, next_hop=("10.0.1.2", 8080), report=1, inbound_report=2)
        opening, accepting = world.labels
        assert (opening.reporter, accepting.reporter) == ("source", "destination")
        assert (opening.source, opening.destination) == (accepting.source, accepting.destination)

    def test_a_pod_of_this_node_that_was_not_handed_over_yet_is_tunnelled_to(self) -> None:
        assert isinstance(only(World(workload("web-1", "10.0.1.2", node="n1")).outbound("10.0.1.2:8080")), Tunnel)

    def test_a_pod_outside_the_mesh_is_reached_in_plain(self) -> None:
        world = World(service("web", "10.96.0.1"), workload("web-1", "10.0.2.1", mesh=False, services={WEB: {80: 8080}}))
        action = only(world.outbound("10.96.0.1:80"))
        assert action == Direct(("10.0.2.1", 8080), keep_source=False, report=1)
        assert world.labels_of(action).destination.pod == "web-1"
        assert not world.labels_of(action).secure

    def test_a_stranger_is_passed_through_untouched(self) -> None:
        assert only(World().outbound("192.0.2.1:443")) == Direct(("192.0.2.1", 443), keep_source=False, report=1)

    def test_a_service_without_a_ready_pod_is_refused_until_something_changes(self) -> None:
        world = World(service("web", "10.96.0.1"))
        assert_rejected(world.outbound("10.96.0.1:80"), 503, Cause.NO_UPSTREAM, "no ready endpoint", cached=True)
        assert world.labels[0].service.name == "web"

    def test_a_port_that_the_service_does_not_have_is_refused(self) -> None:
        assert_rejected(World(service("web", "10.96.0.1")).outbound("10.96.0.1:81"), 503, Cause.NO_UPSTREAM, "no port 81", cached=True)

    @pytest.mark.parametrize("ip", ["10.0.1.1", "127.0.0.1", "0.0.0.0", "[::1]", "[fd00:1::1]"])
    @pytest.mark.parametrize("port", [15001, 15006, 15008, 15053])
    def test_what_would_come_back_to_this_proxy_is_refused(self, ip: str, port: int) -> None:
        assert_rejected(World().outbound(f"{ip}:{port}"), 400, Cause.BAD_AUTHORITY, "would come back")

    def test_another_pods_port_of_the_same_number_is_none_of_our_business(self) -> None:
        assert isinstance(only(World().outbound("192.0.2.1:15001")), Direct)

    def test_before_the_control_plane_knows_the_pod_it_connects_under_the_agents_word(self) -> None:
        world = World(workload("web-1", "10.0.2.1"), known=False)
        action = only(world.outbound("10.0.2.1:8080"))
        assert isinstance(action, Tunnel)
        assert action.source_identity == CLIENT_ID
        assert world.labels[0].source.pod == "client"

    def test_the_identity_to_prove_is_the_agents_word_and_not_the_control_planes(self) -> None:
        impostor = workload("client", "10.0.1.1", node="n1", account="admin")
        world = World(impostor, workload("web-1", "10.0.2.1"), known=False)
        action = only(world.outbound("10.0.2.1:8080"))
        assert isinstance(action, Tunnel)
        assert action.source_identity == CLIENT_ID
        assert world.labels[0].source.identity == CLIENT_ID


class TestInboundPlaintext:
    def test_it_goes_to_where_it_was_going_with_its_own_source(self) -> None:
        world = World()
        action = only(world.plaintext("10.0.1.1:8080"))
        assert action == Direct(("10.0.1.1", 8080), keep_source=True, report=1)
        assert (world.labels[0].reporter, world.labels[0].secure, world.labels[0].source.identity) == ("destination", False, "")

    def test_an_address_proves_no_identity(self) -> None:
        world = World(workload("web-1", "10.0.2.9"))
        world.plaintext("10.0.1.1:8080")
        assert (world.labels[0].source.pod, world.labels[0].source.identity) == ("web-1", "")

    @pytest.mark.parametrize("port", [15001, 15006, 15008, 15053])
    def test_our_own_ports_are_refused(self, port: int) -> None:
        assert_rejected(World().plaintext(f"10.0.1.1:{port}"), 400, Cause.BAD_AUTHORITY, "would come back")

    @pytest.mark.parametrize("destination", ["10.0.1.2:80", "127.0.0.1:80", "169.254.169.254:80"])
    def test_somebody_elses_address_is_refused(self, destination: str) -> None:
        assert_rejected(World().plaintext(destination), 400, Cause.BAD_AUTHORITY, "no address of the pod")

    def test_until_the_pods_addresses_are_known_nothing_gets_in(self) -> None:
        assert_rejected(World(known=False).plaintext("10.0.1.1:80"), 503, Cause.NO_UPSTREAM, "not told")


class TestInboundHbone:
    def test_the_pods_own_address_is_reached_under_the_peers_identity(self) -> None:
        world = World(workload("web-1", "10.0.2.1"))
        assert only(world.hbone("10.0.1.1:8080")) == Direct(("10.0.1.1", 8080), keep_source=True, report=1)
        labels = world.labels[0]
        assert (labels.reporter, labels.secure, labels.hbone_address) == ("destination", True, "10.0.1.1:8080")
        assert (labels.source.pod, labels.source.identity, labels.destination.identity) == ("web-1", DEFAULT_ID, CLIENT_ID)

    def test_the_one_service_behind_the_port_is_named(self) -> None:
        backed = workload(
            "client", "10.0.1.1", node="n1", account="buyer", services={"shop/c.shop.svc": {80: 8080}, "shop/d.shop.svc": {9: 9}}
        )
        world = World(backed, known=False)
        world.hbone("10.0.1.1:8080")
        assert (world.labels[0].service.hostname, world.labels[0].service.name) == ("c.shop.svc", "c")

    def test_an_address_of_another_identity_does_not_count(self) -> None:
        world = World(workload("web-1", "10.0.2.1", account="other"))
        world.hbone("10.0.1.1:8080")
        assert (world.labels[0].source.pod, world.labels[0].source.identity) == ("", DEFAULT_ID)

    @pytest.mark.parametrize(
        "authority", ["", "web.shop:80", "10.0.1.1", "10.0.1.1:0", "10.0.2.2:80", "[::ffff:10.0.1.1]:80", "10.0.1.1:15008"]
    )
    def test_any_other_authority_is_400(self, authority: str) -> None:
        world = World()
        verdict = world.hbone(authority)
        action = only(verdict)
        assert isinstance(action, Reject)
        assert (action.status, action.cause, verdict.decision.cache) == (400, Cause.BAD_AUTHORITY, False)
        assert world.labels[0].hbone_address == "", "a peer cannot fill the table of reports with what it makes up"

    @pytest.mark.parametrize(
        "peer", ["", "spiffe://evil.example/ns/shop/sa/default", "spiffe://cluster.local/x", "https://cluster.local/ns/a/sa/b"]
    )
    def test_a_peer_of_another_trust_domain_is_401(self, peer: str) -> None:
        assert_rejected(World().hbone("10.0.1.1:8080", peer=peer), 401, Cause.DENIED, "trust domain")

    def test_until_the_pods_addresses_are_known_nothing_gets_in(self) -> None:
        assert_rejected(World(known=False).hbone("10.0.1.1:80"), 503, Cause.NO_UPSTREAM, "not told")


def test_a_pod_that_has_left_is_refused() -> None:
    world = World()
    assert_rejected(decide(Flow(9, Direction.OUTBOUND, "", "192.0.2.1:80", ""), world.around), 503, Cause.DRAINED, "has left")


def test_what_a_decision_depends_on() -> None:
    world = World()
    own = "Kubernetes//Pod/shop/client"
    assert names_needed(Flow(1, Direction.OUTBOUND, "", "192.0.2.1:443", ""), world.around) == ((own, "/192.0.2.1"), ())
    assert names_needed(Flow(1, Direction.OUTBOUND, "", "169.254.169.254:80", ""), world.around) == ((own,), ())
    assert names_needed(Flow(1, Direction.INBOUND_HBONE, "fd00:2::1", "10.0.1.1:80", DEFAULT_ID), world.around) == (
        (own, POLICIES),
        ("/fd00:2::1",),
    )
    assert names_needed(Flow(9, Direction.INBOUND_HBONE, "nonsense", "nonsense", ""), world.around) == ((POLICIES,), ())


texts = st.text(max_size=40) | st.sampled_from(["10.0.1.1:80", "10.0.1.1:15006", "[fd00:1::1]:80", "10.96.0.1:80", DEFAULT_ID, "10.0.2.1"])


@given(st.builds(Flow, st.integers(0, 2), st.sampled_from(Direction), texts, texts, texts))
def test_no_flow_is_left_without_an_answer_and_none_gets_out_of_the_pod(flow: Flow) -> None:
    world = World(service("web", "10.96.0.1"), workload("web-1", "10.0.2.1", services={WEB: {80: 8080}}))
    names_needed(flow, world.around)
    verdict = decide(flow, world.around)
    assert verdict.decision.choices
    for action in verdict.decision.choices:
        assert not isinstance(action, Reject) or action.detail
        if flow.direction is not Direction.OUTBOUND and isinstance(action, Direct):
            assert ip_address(action.next_hop[0]) in CLIENT.addresses
            assert action.next_hop[1] not in {15001, 15006, 15008, 15053}
