"""Whatever a control plane sends as an Authorization: a policy that can be decided with, or ConfigError; of bytes also DecodeError."""

from ipaddress import ip_address
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ConfigError
from mesh.identity import Identity
from mesh.model import SocketAddress
from mesh.policy.evaluation import PolicyBook, Ruling
from mesh.policy.model import Authorization, Connection
from mesh.wire import authorization_pb2 as pb
from mesh.wire.policies import authorization_from_wire, authorization_to_wire


def mostly(fair: st.SearchStrategy[Any], hostile: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Hostile values are rare: one is enough for a refusal, and what lies behind it is not reached."""
    return st.integers(0, 15).flatmap(lambda number: hostile if number == 15 else fair)


hostile_texts = st.sampled_from(["", "/", "*", "a/b", "a b", "a\nb", "x" * 2000]) | st.text(max_size=20)
names = mostly(st.sampled_from(["a", "shop"]), hostile_texts)
texts = mostly(st.sampled_from(["a", "shop", "cluster.local/ns/shop/sa/a"]), hostile_texts)
fair_patterns = st.one_of(
    st.just(pb.StringMatch(presence=Empty())),
    *(texts.map(lambda text, form=form: pb.StringMatch(**{form: text})) for form in ("exact", "prefix", "suffix")),
)
patterns = mostly(fair_patterns, st.just(pb.StringMatch()))
v4 = st.builds(pb.Address, address=st.binary(min_size=4, max_size=4), length=st.integers(0, 32))
v6 = st.builds(pb.Address, address=st.binary(min_size=16, max_size=16), length=st.integers(0, 128))
networks = mostly(v4 | v6, st.builds(pb.Address, address=st.binary(max_size=17), length=st.integers(0, 2**32 - 1)))
accounts = st.builds(pb.ServiceAccountMatch, namespace=names, service_account=names)
ports = mostly(st.integers(0, 65535), st.integers(0, 2**32 - 1))
KINDS = {"namespaces": patterns, "principals": patterns, "service_accounts": accounts, "source_ips": networks}
KINDS |= {"destination_ips": networks, "destination_ports": ports}
matches = st.fixed_dictionaries(
    {}, optional={no + name: st.lists(values, max_size=2) for name, values in KINDS.items() for no in ("", "not_")}
).map(lambda found: pb.Match(**found))
clauses = st.builds(pb.Rules, matches=st.lists(matches, max_size=2))
groups = st.builds(pb.Group, rules=st.lists(clauses, max_size=2))
numbers = st.integers(-(2**31), 2**31 - 1)
authorizations = st.builds(
    pb.Authorization,
    name=names,
    namespace=names,
    scope=mostly(st.integers(0, 2), numbers),
    action=mostly(st.integers(0, 1), numbers),
    groups=st.lists(groups, max_size=3),
    dry_run=st.booleans(),
)
CONNECTION = Connection(
    SocketAddress(ip_address("10.0.0.1"), 1), Identity("cluster.local", "shop", "a"), SocketAddress(ip_address("fd00::1"), 80)
)


def use(policy: Authorization) -> None:
    """Whatever was read can be told again, held, and decided with."""
    assert authorization_from_wire(authorization_to_wire(policy)) == policy
    book = PolicyBook("cluster.local", ("old.example",))
    book.put(policy)
    assert isinstance(book.decide(CONNECTION, policy.namespace, (policy.key,)), Ruling)
    book.remove(policy.key)
    assert len(book) == 0


def read(body: bytes) -> None:
    try:
        policy = authorization_from_wire(pb.Authorization.FromString(body))
    except (ConfigError, DecodeError):
        return
    use(policy)


@given(authorizations)
def test_any_authorization(wire: pb.Authorization) -> None:
    try:
        policy = authorization_from_wire(wire)
    except ConfigError:
        return
    use(policy)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    read(body)


@given(authorizations)
def test_every_beginning_of_an_authorization(wire: pb.Authorization) -> None:
    body = wire.SerializeToString()[:600]
    for end in range(len(body) + 1):
        read(body[:end])


@given(authorizations, st.data())
def test_an_authorization_with_a_byte_changed(wire: pb.Authorization, data: st.DataObject) -> None:
    body = bytearray(wire.SerializeToString())
    if body:
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(body))
