"""Policies go over the wire and come back; what is not a policy's is refused by field, whole."""

from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ConfigError
from mesh.policy.limits import MAX_PARTS, count_parts
from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope, ServiceAccountMatch, TextMatch, TextMatchKind
from mesh.wire import authorization_pb2 as pb
from mesh.wire.policies import authorization_from_wire, authorization_to_wire

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=12)
texts = st.lists(
    st.builds(TextMatch, st.sampled_from([kind for kind in TextMatchKind if kind is not TextMatchKind.PRESENCE]), names)
    | st.just(TextMatch(TextMatchKind.PRESENCE)),
    max_size=2,
).map(tuple)
accounts = st.lists(st.builds(ServiceAccountMatch, names, names), max_size=2).map(tuple)
v4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda found: IPv4Network(found, strict=False))
v6 = (
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128))
    .map(lambda found: IPv6Network(found, strict=False))
    .filter(lambda network: network.network_address.ipv4_mapped is None)
)
networks = st.lists(v4 | v6, max_size=2).map(tuple)
ports = st.lists(st.integers(0, 65535), max_size=2).map(tuple)
matches = st.builds(Match, texts, texts, accounts, accounts, texts, texts, networks, networks, networks, networks, ports, ports)
rules = st.lists(st.lists(st.lists(matches, max_size=2).map(tuple), max_size=2).map(tuple), max_size=2).map(tuple)
policies = st.builds(Authorization, names, names, st.sampled_from(PolicyScope), st.sampled_from(PolicyAction), rules, st.booleans())


@given(policies)
def test_policies_come_back(policy: Authorization) -> None:
    sent = authorization_to_wire(policy).SerializeToString()
    assert authorization_from_wire(pb.Authorization.FromString(sent)) == policy


def valid(**changes: Any) -> pb.Authorization:
    return pb.Authorization(**{"name": "p", "namespace": "shop", **changes})


def matching(**values: Any) -> pb.Authorization:
    return valid(groups=[pb.Group(rules=[pb.Rules(matches=[pb.Match(**values)])])])


def test_enumerations_are_the_ecosystems() -> None:
    read = authorization_from_wire(valid(scope=pb.WORKLOAD_SELECTOR, action=pb.DENY))
    assert (read.scope, read.action) == (PolicyScope.SELECTOR, PolicyAction.DENY)
    assert authorization_from_wire(valid(scope=pb.GLOBAL)).scope is PolicyScope.MESH
    assert authorization_from_wire(valid(scope=pb.NAMESPACE, action=pb.ALLOW)).scope is PolicyScope.NAMESPACE


def test_bits_after_a_prefix_are_taken_for_zeros() -> None:
    read = authorization_from_wire(matching(source_ips=[pb.Address(address=bytes((10, 1, 2, 3)), length=8)]))
    assert read.rules == (((Match(source_ips=(IPv4Network("10.0.0.0/8"),)),),),)


@pytest.mark.parametrize(
    ("wire", "key"),
    [
        (valid(name=""), "name"),
        (valid(name="a/b"), "name"),
        (valid(name="a\nb"), "name"),
        (valid(namespace=""), "namespace"),
        (valid(namespace="a/b"), "namespace"),
        (valid(namespace="a" * 1025), "namespace"),
        (valid(scope=3), "scope"),
        (valid(action=2), "action"),
        (matching(namespaces=[pb.StringMatch()]), "namespaces"),
        (matching(not_namespaces=[pb.StringMatch(exact="")]), "not_namespaces"),
        (matching(principals=[pb.StringMatch(prefix="a b")]), "principals"),
        (matching(not_principals=[pb.StringMatch(presence=Empty()), pb.StringMatch(suffix="x" * 1025)]), "not_principals"),
        (matching(service_accounts=[pb.ServiceAccountMatch(namespace="a")]), "service_accounts"),
        (matching(not_service_accounts=[pb.ServiceAccountMatch(namespace="a/b", service_account="c")]), "not_service_accounts"),
        (matching(source_ips=[pb.Address(address=b"123", length=8)]), "source_ips"),
        (matching(not_source_ips=[pb.Address(address=bytes(4), length=33)]), "not_source_ips"),
        (matching(destination_ips=[pb.Address(address=bytes(16), length=129)]), "destination_ips"),
        (
            matching(not_destination_ips=[pb.Address(address=IPv6Address("::ffff:10.0.0.1").packed, length=128)]),
            "not_destination_ips",
        ),
        (matching(destination_ports=[80, 65536]), "destination_ports"),
        (matching(not_destination_ports=[2**32 - 1]), "not_destination_ports"),
        (matching(destination_ports=[80] * (MAX_PARTS - 2)), "groups"),
        (valid(groups=[pb.Group()] * (MAX_PARTS + 1)), "groups"),
    ],
)
def test_hostile_policies(wire: pb.Authorization, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        authorization_from_wire(wire)
    assert refused.value.key == f"authorization.{key}"


def test_as_much_as_is_written_may_be_read() -> None:
    assert count_parts(authorization_from_wire(matching(destination_ports=[80] * (MAX_PARTS - 3))).rules) == MAX_PARTS


@pytest.mark.parametrize("depth", range(4))
def test_a_field_that_we_do_not_know_may_narrow_an_allow_policy(depth: int) -> None:
    body = b"\x78\x01"  # field 15, a number
    for tag in (b"\x12", b"\x0a", b"\x2a")[3 - depth :]:  # Rules.matches, Group.rules, Authorization.groups
        body = tag + bytes((len(body),)) + body
    wire = pb.Authorization.FromString(authorization_to_wire(authorization_from_wire(valid())).SerializeToString() + body)
    with pytest.raises(ConfigError, match="fields that we know"):
        authorization_from_wire(wire)
