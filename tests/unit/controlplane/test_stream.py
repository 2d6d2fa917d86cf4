"""Nonces and acknowledgements of one stream, as a transcript."""

import itertools
from ipaddress import IPv4Address
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE, NOTHING, Resources, address_resources
from controlplane.stream import Accepted, Rejected, Stream, Subscribed
from mesh.errors import RemoteProtocolError
from mesh.model import Snapshot, Workload


def resources(*names: str) -> Resources:
    workloads = [Workload(name, name, "ns", "default", "td", (IPv4Address(f"10.0.0.{n}"),), "n") for n, name in enumerate(names)]
    return address_resources(Snapshot(1, {one.uid: one for one in workloads}, {}))


def stream() -> Stream:
    nonces = itertools.count(1)
    return Stream(lambda: str(next(nonces)))


def request(kind: str = ADDRESS_TYPE, nonce: str = "", error: str = "", **fields: Any) -> Any:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=kind, response_nonce=nonce, **fields)
    if error:
        message.error_detail.message = error
    return message


def sent(one: Stream, addresses: Resources) -> list[tuple[str, list[str]]]:
    return [(message.nonce, [resource.name for resource in message.resources]) for _, _, message in one.responses(addresses)]


def test_transcript() -> None:
    one = stream()
    assert one.receive(request(), resources("a")) == [Subscribed(ADDRESS_TYPE, True, True, 0, 0, True)]
    assert sent(one, resources("a")) == [("1", ["a"])]
    assert sent(one, resources("a", "b")) == []  # the first response is still under way
    assert one.receive(request(nonce="7"), resources("a", "b")) == []  # not the outstanding nonce
    assert sent(one, resources("a", "b")) == []
    assert one.receive(request(nonce="1"), resources("a", "b")) == [Accepted(ADDRESS_TYPE, "1")]
    assert sent(one, resources("a", "b")) == [("2", ["b"])]
    assert one.receive(request(nonce="2", error="bad"), resources("a", "b")) == [Rejected(ADDRESS_TYPE, 0, "bad")]
    assert sent(one, resources("a", "b")) == []
    assert one.receive(request(nonce="2"), resources("a", "b")) == []  # once is enough


def test_a_subscription_may_come_with_an_acknowledgement_or_without() -> None:
    one = stream()
    one.receive(request(resource_names_subscribe=["a"]), resources("a", "b"))
    assert sent(one, resources("a", "b")) == [("1", ["a"])]
    one.receive(request(resource_names_subscribe=["b"]), resources("a", "b"))
    assert sent(one, resources("a", "b")) == []
    facts = one.receive(request(nonce="1", resource_names_unsubscribe=["x"]), resources("a", "b"))
    assert facts == [Accepted(ADDRESS_TYPE, "1"), Subscribed(ADDRESS_TYPE, False, False, 0, 1, True)]
    assert sent(one, resources("a", "b")) == [("2", ["b"])]


def test_types_do_not_wait_for_each_other() -> None:
    one = stream()
    one.receive(request(), resources("a"))
    one.receive(request(kind=AUTHORIZATION_TYPE), resources("a"))
    assert sent(one, resources("a")) == [("1", ["a"]), ("2", [])]
    one.receive(request(kind=AUTHORIZATION_TYPE, nonce="2"), NOTHING)
    assert sent(one, resources("a")) == []


def test_an_unknown_type_is_answered_with_nothing_and_reported() -> None:
    one = stream()
    [fact] = one.receive(request(kind="type.googleapis.com/other"), NOTHING)
    assert isinstance(fact, Subscribed)
    assert not fact.known
    assert sent(one, resources("a")) == [("1", [])]


@pytest.mark.parametrize("kind", ["", "x" * 513])
def test_a_type_must_be_named(kind: str) -> None:
    with pytest.raises(RemoteProtocolError):
        stream().receive(request(kind=kind), NOTHING)
