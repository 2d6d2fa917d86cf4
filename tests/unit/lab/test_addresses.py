from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import addresses


def test_the_addresses_of_the_documentation():
    assert addresses.node_addresses("node1") == ("172.30.0.11", "fd00:172:30::11")
    assert addresses.pod_networks("node2") == ("10.244.2.0/24", "fd00:10:244:2::/64")
    assert addresses.pod_addresses("node2", 3) == ("10.244.2.3", "fd00:10:244:2::3")
    assert addresses.service_addresses(11) == ("10.96.0.11", "fd00:10:96::b")


@pytest.mark.parametrize("node", addresses.node_names(addresses.MAX_NODES))
def test_every_node_lies_in_its_networks(node: str):
    nodes = ("172.30.0.0/24", "fd00:172:30::/64")
    own = addresses.node_addresses(node)
    assert all(ip_address(address) in ip_network(network) for address, network in zip(own, nodes, strict=True))
    gateways = zip(addresses.pod_gateways(node), addresses.pod_networks(node), strict=True)
    assert all(ip_address(address) in ip_network(network) for address, network in gateways)
    assert own[0] != addresses.CONTROLPLANE[0]


def test_nodes_share_no_address():
    names = addresses.node_names(addresses.MAX_NODES)
    assert len({addresses.node_addresses(name) for name in names}) == len({addresses.pod_networks(name) for name in names}) == len(names)


@given(st.sets(st.integers(2, 20), max_size=18))
def test_a_free_number_is_free_and_in_range(taken: set[int]):
    number = addresses.next_free(taken, 2, 20)
    assert 2 <= number <= 20
    assert number not in taken


def test_a_number_just_given_back_rests():
    assert addresses.next_free({2, 3, 5}, 2, 254) == 6


def test_the_range_may_be_used_up():
    assert addresses.next_free({2, 4}, 2, 4) == 3
    with pytest.raises(addresses.AddressesExhausted):
        addresses.next_free({2, 3, 4}, 2, 4)


@pytest.mark.parametrize(("address", "offset"), [("10.96.0.11", 11), ("10.97.0.0", None), ("fd00:10:96::b", 11), ("fd00::1", None)])
def test_where_a_virtual_ip_lies(address: str, offset: int | None):
    assert addresses.service_offset(ip_address(address)) == offset
