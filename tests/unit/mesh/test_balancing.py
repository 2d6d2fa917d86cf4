"""Preferences, weights and affinity: tables for each rule, and what holds for all inputs."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balancing import kept, preferred, rank, turns
from mesh.model import BalancingMode, LoadBalancing, Locality, RoutingScope, Workload

REGION, ZONE, SUBZONE = RoutingScope.REGION, RoutingScope.ZONE, RoutingScope.SUBZONE
NODE, CLUSTER, NETWORK = RoutingScope.NODE, RoutingScope.CLUSTER, RoutingScope.NETWORK
STRICT, FAILOVER = BalancingMode.STRICT, BalancingMode.FAILOVER


def workload(name: str, where: str = "", node: str = "", cluster: str = "c1", network: str = "") -> Workload:
    """`where` is "region/zone/subzone", from the left."""
    region, zone, subzone = (*where.split("/"), "", "")[:3]
    return Workload(
        name, name, "shop", "default", "td", (), node, network=network, cluster=cluster, locality=Locality(region, zone, subzone)
    )


SOURCE = workload("source", "r1/z1/s1", "n1")


@pytest.mark.parametrize(
    ("preference", "other", "shared"),
    [
        ((), workload("a"), 0),
        ((REGION,), workload("a", "r1"), 1),
        ((REGION,), workload("a", "r2"), 0),
        ((REGION, ZONE), workload("a", "r1/z2"), 1),
        ((REGION, ZONE), workload("a", "r2/z1"), 0),
        ((REGION, ZONE, SUBZONE), workload("a", "r1/z1/s1"), 3),
        ((REGION, ZONE, SUBZONE), workload("a", "r1/z1/s2"), 2),
        ((SUBZONE,), workload("a", "r1/z1"), 0),
        ((NODE,), workload("a", node="n1"), 1),
        ((NODE,), workload("a", node="n2"), 0),
        ((NODE,), workload("a", node="n1", cluster="c2"), 0),
        ((CLUSTER,), workload("a"), 1),
        ((CLUSTER,), workload("a", cluster="c2"), 0),
        ((NETWORK,), workload("a"), 1),
        ((NETWORK,), workload("a", network="far"), 0),
        ((NETWORK, REGION, ZONE), workload("a", "r1/z1", network="far"), 0),
    ],
)
def test_scopes_are_counted_from_the_first_that_is_shared(preference: tuple[RoutingScope, ...], other: Workload, shared: int) -> None:
    assert rank(SOURCE, other, preference) == shared


@pytest.mark.parametrize("scope", [REGION, ZONE, SUBZONE])
def test_a_place_without_a_name_is_one_place(scope: RoutingScope) -> None:
    """Nodes that have zones and no regions share their zones."""
    assert rank(workload("source"), workload("a"), (scope,)) == 1
    assert rank(workload("source", "/z1"), workload("a", "/z1"), (REGION, ZONE)) == 2
    assert rank(workload("source", "/z1"), workload("a", "/z2"), (REGION, ZONE)) == 1


def test_without_any_place_there_are_still_nodes() -> None:
    assert rank(workload("source", node="n1"), workload("a", node="n1"), (REGION, ZONE, SUBZONE, NODE)) == 4
    assert rank(workload("source", node="n1"), workload("a", node="n2"), (REGION, ZONE, SUBZONE, NODE)) == 3


@pytest.mark.parametrize("scope", [REGION, ZONE, SUBZONE, NODE])
def test_nobody_shares_anything_with_an_unknown_source_nor_with_an_unknown_node(scope: RoutingScope) -> None:
    assert rank(None, SOURCE, (scope,)) == 0
    assert rank(workload("source"), workload("a"), (NODE,)) == 0


NEAR, ZONAL, FAR = workload("near", "r1/z1", "n1"), workload("zonal", "r1/z1", "n2"), workload("far", "r2/z9", "n9")


@pytest.mark.parametrize(
    ("mode", "preference", "there", "taken"),
    [
        (BalancingMode.UNSPECIFIED, (NODE,), (NEAR, FAR), (NEAR, FAR)),
        (STRICT, (), (NEAR, FAR), (NEAR, FAR)),
        (STRICT, (NODE,), (NEAR, ZONAL, FAR), (NEAR,)),
        (STRICT, (REGION, ZONE), (NEAR, ZONAL, FAR), (NEAR, ZONAL)),
        (STRICT, (NODE,), (ZONAL, FAR), ()),
        (FAILOVER, (), (NEAR, FAR), (NEAR, FAR)),
        (FAILOVER, (REGION, ZONE, NODE), (NEAR, ZONAL, FAR), (NEAR,)),
        (FAILOVER, (REGION, ZONE, NODE), (ZONAL, FAR), (ZONAL,)),
        (FAILOVER, (REGION, ZONE, NODE), (FAR,), (FAR,)),
        (FAILOVER, (NODE,), (), ()),
    ],
)
def test_strict_takes_what_shares_all_and_failover_what_shares_most(
    mode: BalancingMode, preference: tuple[RoutingScope, ...], there: tuple[Workload, ...], taken: tuple[Workload, ...]
) -> None:
    assert tuple(preferred(SOURCE, there, LoadBalancing(preference, mode))) == taken


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 2**32), st.integers(0, 50))
def test_in_a_round_everyone_has_as_many_turns_as_his_weight(weights: list[int], seed: int, turn: int) -> None:
    assert Counter(turns(weights, seed, turn, 256)) == dict(enumerate(weights))


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=300), st.integers(0, 2**32), st.integers(0, 50))
def test_a_long_round_is_sampled_evenly(weights: list[int], seed: int, turn: int) -> None:
    round_of = turns(weights, seed, turn, 256)
    assert len(round_of) == min(sum(weights), 256)
    for index, count in Counter(round_of).items():
        share = weights[index] * len(round_of) / sum(weights)
        assert abs(count - share) < 1 + 1e-9


def test_two_heavy_ones_take_turns_instead_of_streaks() -> None:
    order = turns([8, 8], 0, 0, 256)
    assert all(len(set(order[start : start + 3])) == 2 for start in range(len(order) - 2))


@pytest.mark.parametrize("weights", [[1, 1, 1], [100, 101, 99]])
def test_the_next_round_begins_with_another(weights: list[int]) -> None:
    assert {turns(weights, 7, turn, 256)[0] for turn in range(3)} == {0, 1, 2}


def test_of_more_than_a_round_holds_the_next_round_has_others() -> None:
    seen: set[int] = set()
    for turn in range(1000):
        seen.update(turns([1] * 1000, 0, turn, 256))
    assert seen == set(range(1000))


names = st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=10, unique=True)


@given(st.text(max_size=10), names, st.data())
def test_a_client_keeps_its_endpoint_while_others_come_and_go(client: str, there: list[str], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(there), max_size=len(there)))
    chosen = there[kept(client, there, weights)]
    order = data.draw(st.permutations(range(len(there))))
    stays = [there[index] for index in order if there[index] == chosen or data.draw(st.booleans())]
    assert stays[kept(client, stays, [weights[there.index(name)] for name in stays])] == chosen


def test_clients_spread_as_the_weights_say() -> None:
    taken = Counter(kept(f"10.0.{number // 256}.{number % 256}", ["a", "b", "c"], [1, 1, 2]) for number in range(4000))
    assert [round(taken[index] / 1000, 1) for index in range(3)] == pytest.approx([1, 1, 2], abs=0.11)


def test_only_clients_of_an_endpoint_that_went_move() -> None:
    clients = [f"10.0.0.{number}" for number in range(200)]
    before = {client: "abc"[kept(client, "abc", [1, 1, 1])] for client in clients}
    after = {client: "ab"[kept(client, "ab", [1, 1])] for client in clients}
    assert all(after[client] == was for client, was in before.items() if was != "c")
    assert {after[client] for client, was in before.items() if was == "c"} == {"a", "b"}
