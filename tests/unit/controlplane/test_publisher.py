"""Changes of a source become generations: policies first, and seen when all of them are there."""

from controlplane.feed import Feed
from controlplane.publisher import Publisher, in_order
from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.manifests import read_manifest
from mesh.settings import MeshSettings

TEXT = """
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n, containers: [{name: c}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p}, spec: {rules: [{}]}}
"""
CHANGES = [ObjectChange(placed.outline.key, placed.value) for placed in read_manifest("f.yaml", TEXT).placed]
GONE = ObjectChange(ObjectKey("AuthorizationPolicy", "default", "old"), None)


def test_policies_come_before_workloads_and_go_after_them() -> None:
    pod, policy = CHANGES
    assert in_order([GONE, pod, policy]) == [policy, pod, GONE]


async def test_nothing_is_known_before_the_first_reading_even_an_empty_one() -> None:
    feed = Feed(MeshSettings())
    waiting = feed.changed
    assert not feed.known
    await Publisher(feed).publish([])
    assert feed.known
    assert waiting.is_set()


async def test_followers_are_woken_by_what_makes_a_difference_alone() -> None:
    feed = Feed(MeshSettings())
    publisher = Publisher(feed)
    await publisher.publish([])
    waiting = feed.changed
    await publisher.publish([GONE])
    assert not waiting.is_set()
    await publisher.publish(list(CHANGES))
    assert waiting.is_set()
    assert [list(feed.table(kind).by_name) for kind in (ADDRESS_TYPE, AUTHORIZATION_TYPE)] == [["Kubernetes//Pod/default/a"], ["default/p"]]
    assert feed.scope("n") == {"default/p"}
