"""A pod joins, is named again, changes and leaves."""

import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from mesh.identity import Identity
from tests.unit.ztunnel.fakes import FakeEngine
from ztunnel.enrolment import Enrolment
from ztunnel.pods import LocalPods, PodInfo

CLIENT = PodInfo("u-1", "client", "shop", "buyer")
ADDRESSES = (IPv4Address("10.0.0.1"),)


class FakeCertificates:
    def __init__(self) -> None:
        self.kept: set[str] = set()

    def keep(self, identities: frozenset[Identity]) -> None:
        self.kept = {identity.service_account for identity in identities}


class FakeDiscovery:
    def __init__(self) -> None:
        self.pinned: list[str] = []

    def pin(self, name: str) -> None:
        self.pinned.append(name)

    def unpin(self, name: str) -> None:
        self.pinned.remove(name)


class Node:
    def __init__(self) -> None:
        self.pods = LocalPods("Kubernetes", "cluster.local")
        self.engine, self.certificates, self.discovery = FakeEngine(), FakeCertificates(), FakeDiscovery()
        self.changes = 0
        self.enrolment = Enrolment(self.pods, self.engine, self.certificates, self.discovery, self._changed, 5.0, lambda netns: ADDRESSES)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def netns() -> Iterator[list[int]]:
    """Two descriptors of one namespace, and one of something else."""
    fds = [os.open("/proc/self/ns/net", os.O_RDONLY), os.open("/proc/self/ns/net", os.O_RDONLY), os.open("/proc/self/ns/uts", os.O_RDONLY)]
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass  # whoever was given it has closed it


def test_joining_opens_listeners_fetches_a_certificate_and_subscribes(node: Node, netns: list[int]) -> None:
    node.enrolment.add(CLIENT, netns[0])
    assert node.engine.pods == {1: (netns[0], "spiffe://cluster.local/ns/shop/sa/buyer")}
    assert node.certificates.kept == {"buyer"}
    assert node.discovery.pinned == ["Kubernetes//Pod/shop/client"]
    assert node.changes == 1
    assert node.enrolment.keeps("u-1")
    assert [pod.addresses for pod in node.pods] == [ADDRESSES]


def test_being_named_again_changes_nothing_and_loses_no_descriptor(node: Node, netns: list[int]) -> None:
    node.enrolment.add(CLIENT, netns[0])
    node.enrolment.add(CLIENT, netns[1])
    assert (list(node.engine.pods), node.changes) == ([1], 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(netns[1])


@pytest.mark.parametrize("account", ["buyer", "seller"])
def test_a_new_sandbox_or_account_is_a_new_pod_for_the_engine(node: Node, netns: list[int], account: str) -> None:
    node.enrolment.add(CLIENT, netns[0])
    node.enrolment.add(PodInfo("u-1", "client", "shop", account), netns[2])
    assert node.engine.log == ["add 1", "remove 1", "add 2"]
    assert node.certificates.kept == {account}
    assert node.discovery.pinned == ["Kubernetes//Pod/shop/client"]


def test_leaving_drains_and_forgets(node: Node, netns: list[int]) -> None:
    node.enrolment.add(CLIENT, netns[0])
    node.enrolment.delete("u-1")
    node.enrolment.delete("u-1")
    assert node.engine.removed == [(1, 5.0)]
    assert (node.certificates.kept, node.discovery.pinned, len(node.pods), node.changes) == (set(), [], 0, 2)


def test_who_is_not_retained_leaves(node: Node, netns: list[int]) -> None:
    for number, fd in enumerate(netns, 1):
        node.enrolment.add(PodInfo(f"u-{number}", f"pod-{number}", "shop", "buyer"), fd)
    node.enrolment.retain(frozenset({"u-2"}))
    assert list(node.engine.pods) == [2]
    assert node.certificates.kept == {"buyer"}


def test_a_pod_that_cannot_be_served_is_not_kept(node: Node, netns: list[int]) -> None:
    node.engine.broken = True
    with pytest.raises(OSError, match="address in use"):
        node.enrolment.add(CLIENT, netns[0])
    assert (len(node.pods), node.certificates.kept, node.discovery.pinned, node.changes) == (0, set(), [], 0)
