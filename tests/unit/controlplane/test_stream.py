"""Nonces, acknowledgements and the order of the types on one stream, as transcripts."""

import itertools
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane import subscription
from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.stream import Accepted, Rejected, Stream, Subscribed
from mesh.errors import RemoteProtocolError
from mesh.wire import workload_pb2 as pb
from tests.unit.controlplane.meshes import SmallMesh, policy, workload


def stream(mesh: SmallMesh, node: str | None = None) -> Stream:
    nonces = itertools.count(1)
    return Stream(lambda: str(next(nonces)), mesh, node)


def request(kind: str = ADDRESS_TYPE, nonce: str = "", error: str = "", **fields: Any) -> Any:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=kind, response_nonce=nonce, **fields)
    if error:
        message.error_detail.message = error
    return message


def sent(one: Stream) -> list[tuple[str, list[str]]]:
    """Reads what is sent, as a client would."""
    messages = [discovery_pb2.DeltaDiscoveryResponse.FromString(response.serialise()) for response in one.responses()]
    return [(message.nonce, [*(resource.name for resource in message.resources), *message.removed_resources]) for message in messages]


def test_transcript() -> None:
    mesh = SmallMesh()
    mesh.put(workload("a", 1))
    one = stream(mesh)
    assert one.receive(request()) == [Subscribed(ADDRESS_TYPE, True, True, 0, 0, True)]
    assert sent(one) == [("1", ["a"])]
    mesh.put(workload("b", 2))
    assert sent(one) == []  # the first response is still under way
    assert one.receive(request(nonce="7")) == []  # not the outstanding nonce
    assert sent(one) == []
    assert one.receive(request(nonce="1")) == [Accepted(ADDRESS_TYPE, "1")]
    assert sent(one) == [("2", ["b"])]
    assert one.receive(request(nonce="2", error="bad")) == [Rejected(ADDRESS_TYPE, 0, "bad")]
    assert sent(one) == []
    assert one.receive(request(nonce="2")) == []  # once is enough


def test_a_response_is_what_protobuf_would_have_made_of_it() -> None:
    mesh = SmallMesh()
    mesh.put(workload("a", 1), workload("b", 2))
    one = stream(mesh)
    one.receive(request(resource_names_subscribe=["a", "x"]))
    [response] = one.responses()
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(response.serialise())
    [resource] = message.resources
    assert (message.type_url, message.nonce, message.system_version_info) == (ADDRESS_TYPE, "1", "1")
    assert (resource.name, list(resource.aliases), len(resource.version)) == ("a", ["/10.0.0.1"], 16)
    assert resource.resource.type_url == ADDRESS_TYPE
    assert pb.Address.FromString(resource.resource.value).workload.uid == "a"
    assert list(message.removed_resources) == ["x"]


def test_a_subscription_may_come_with_an_acknowledgement_or_without() -> None:
    mesh = SmallMesh()
    mesh.put(workload("a", 1), workload("b", 2))
    one = stream(mesh)
    one.receive(request(resource_names_subscribe=["a"]))
    assert sent(one) == [("1", ["a"])]
    one.receive(request(resource_names_subscribe=["b"]))
    assert sent(one) == []
    facts = one.receive(request(nonce="1", resource_names_unsubscribe=["x"]))
    assert facts == [Accepted(ADDRESS_TYPE, "1"), Subscribed(ADDRESS_TYPE, False, False, 0, 1, True)]
    assert sent(one) == [("2", ["b"])]


def test_policies_go_out_before_the_addresses_of_their_time() -> None:
    mesh = SmallMesh()
    mesh.put(workload("a", 1), policy("p"))
    one = stream(mesh)
    one.receive(request())
    one.receive(request(kind=AUTHORIZATION_TYPE))
    assert sent(one) == [("1", ["ns/p"]), ("2", ["a"])]


def test_addresses_wait_for_policies_that_did_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "MAX_RESPONSE_BYTES", 1)
    mesh = SmallMesh()
    mesh.put(workload("a", 1), policy("p"), policy("q"))
    one = stream(mesh)
    one.receive(request())
    one.receive(request(kind=AUTHORIZATION_TYPE))
    assert sent(one) == [("1", ["ns/p"])]
    one.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    assert sent(one) == [("2", ["ns/q"]), ("3", ["a"])]
    mesh.put(workload("b", 2), policy("r"))
    one.receive(request(nonce="3"))
    assert sent(one) == []  # the policies that were sent are not acknowledged, and there are newer ones
    one.receive(request(kind=AUTHORIZATION_TYPE, nonce="2", error="no"))
    assert sent(one) == [("4", ["ns/r"]), ("5", ["b"])]


def test_addresses_do_not_wait_for_acknowledgements_alone() -> None:
    mesh = SmallMesh()
    mesh.put(policy("p"))
    one = stream(mesh)
    one.receive(request(kind=AUTHORIZATION_TYPE))
    assert sent(one) == [("1", ["ns/p"])]
    mesh.put(workload("a", 1))
    one.receive(request())
    assert sent(one) == [("2", ["a"])]


def test_a_node_gets_its_own_policies_and_others_get_all() -> None:
    mesh = SmallMesh(scopes={"n": frozenset({"ns/p"})})
    mesh.put(policy("p"), policy("q"), policy("r"))
    node, other = stream(mesh, "n"), stream(mesh)
    node.receive(request(kind=AUTHORIZATION_TYPE))
    other.receive(request(kind=AUTHORIZATION_TYPE))
    assert sent(node) == [("1", ["ns/p"])]
    assert sent(other) == [("1", ["ns/p", "ns/q", "ns/r"])]
    mesh.scopes["n"] = frozenset({"ns/q", "ns/new"})
    mesh.put(policy("new"), policy("r", dry_run=True))
    node.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    assert sent(node) == [("2", ["ns/new", "ns/q", "ns/p"])]
    node.receive(request(kind=AUTHORIZATION_TYPE, nonce="2", resource_names_subscribe=["ns/r"]))
    assert sent(node) == [("3", ["ns/r"])]


def test_a_policy_that_goes_is_taken_back() -> None:
    mesh = SmallMesh(scopes={"n": frozenset({"ns/p"})})
    mesh.put(policy("p"))
    node = stream(mesh, "n")
    node.receive(request(kind=AUTHORIZATION_TYPE))
    assert sent(node) == [("1", ["ns/p"])]
    mesh.scopes["n"] = frozenset()
    mesh.put(gone_policies=("ns/p",))
    node.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    assert sent(node) == [("2", ["ns/p"])]


def test_a_policy_that_goes_stays_until_the_client_has_the_addresses_of_that_time() -> None:
    """Else the last pod of a namespace would be there without its policies, and one that lists a policy would be shut off."""
    mesh = SmallMesh(scopes={"n": frozenset({"ns/p"})})
    mesh.put(policy("p"), workload("a", 1), workload("b", 2))
    node = stream(mesh, "n")
    node.receive(request(kind=AUTHORIZATION_TYPE))
    node.receive(request())
    assert sent(node) == [("1", ["ns/p"]), ("2", ["a", "b"])]
    node.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    mesh.scopes["n"] = frozenset()
    mesh.put(gone=("a",))
    assert sent(node) == []  # the addresses before are not acknowledged
    node.receive(request(nonce="2"))
    assert sent(node) == [("3", ["a"])]
    mesh.put(workload("b", 3))
    assert sent(node) == []
    node.receive(request(nonce="3"))
    assert sent(node) == [("4", ["ns/p"]), ("5", ["b"])]


def test_a_client_that_comes_back_drops_no_policy_before_it_has_the_addresses() -> None:
    mesh = SmallMesh()
    mesh.put(workload("a", 1))
    one = stream(mesh)
    one.receive(request(kind=AUTHORIZATION_TYPE, initial_resource_versions={"ns/p": "1"}))
    assert sent(one) == [("1", [])]
    one.receive(request(initial_resource_versions={"a": "1"}))
    assert sent(one) == [("2", ["a"])]
    one.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    assert sent(one) == []
    one.receive(request(nonce="2"))
    assert sent(one) == [("3", ["ns/p"])]


def test_a_policy_that_comes_back_before_it_went_was_never_away() -> None:
    mesh = SmallMesh()
    mesh.put(policy("p"), workload("a", 1))
    one = stream(mesh)
    one.receive(request(kind=AUTHORIZATION_TYPE))
    one.receive(request())
    assert sent(one) == [("1", ["ns/p"]), ("2", ["a"])]
    one.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    mesh.put(gone_policies=("ns/p",))
    assert sent(one) == []
    mesh.put(policy("p", dry_run=True), workload("b", 2))
    one.receive(request(nonce="2"))
    assert sent(one) == [("3", ["ns/p"]), ("4", ["b"])]


def test_a_policy_goes_at_once_when_no_address_changed() -> None:
    mesh = SmallMesh()
    mesh.put(policy("p"), policy("q"), workload("a", 1))
    one = stream(mesh)
    one.receive(request(kind=AUTHORIZATION_TYPE))
    one.receive(request())
    assert sent(one) == [("1", ["ns/p", "ns/q"]), ("2", ["a"])]
    one.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    one.receive(request(nonce="2"))
    mesh.put(gone_policies=("ns/p",))
    assert sent(one) == [("3", ["ns/p"])]


def test_an_unknown_type_is_answered_with_nothing_and_reported() -> None:
    mesh = SmallMesh()
    mesh.put(workload("a", 1))
    one = stream(mesh)
    [fact] = one.receive(request(kind="type.googleapis.com/other"))
    assert isinstance(fact, Subscribed)
    assert not fact.known
    assert sent(one) == [("1", [])]


@pytest.mark.parametrize("kind", ["", "x" * 513])
def test_a_type_must_be_named(kind: str) -> None:
    with pytest.raises(RemoteProtocolError):
        stream(SmallMesh()).receive(request(kind=kind))


@pytest.mark.parametrize(("token", "named", "refused"), [("n", "m", True), ("n", "n", False), ("n", "", False), (None, "m", False)])
def test_a_proxy_is_of_the_node_that_its_token_names(token: str | None, named: str, refused: bool) -> None:
    message = request(kind=AUTHORIZATION_TYPE)
    message.node.metadata.update({"NODE_NAME": named})
    one = stream(SmallMesh(scopes={"n": frozenset()}), token)
    if not refused:
        assert one.receive(message)
        return
    with pytest.raises(RemoteProtocolError, match="of node n, and not of 'm'"):
        one.receive(message)


def test_a_policy_that_is_needed_no_longer_is_taken_back_at_once() -> None:
    """When its last pod has left: nothing is to be said of addresses, and nothing else would make the stream look again."""
    mesh = SmallMesh(scopes={"n": frozenset({"ns/p"})})
    mesh.put(policy("p"), workload("w", 1))
    node = stream(mesh, "n")
    node.receive(request(kind=AUTHORIZATION_TYPE))
    node.receive(request(resource_names_subscribe=["ns/x"]))
    assert [names for _, names in sent(node)] == [["ns/p"], ["ns/x"]]
    mesh.scopes["n"] = frozenset()
    mesh.put(gone=("ns/x",))
    node.receive(request(kind=AUTHORIZATION_TYPE, nonce="1"))
    node.receive(request(nonce="2"))
    assert [names for _, names in sent(node)] == [["ns/p"]]
