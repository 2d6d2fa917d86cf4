"""Changes of a source become generations: policies first, and seen when all of them are there."""

import asyncio

import pytest

from controlplane import publisher as module
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


def changes(text: str) -> list[ObjectChange]:
    return [ObjectChange(placed.outline.key, placed.value) for placed in read_manifest("f.yaml", text).placed]


CHANGES = changes(TEXT)
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


MANY = "\n---\n".join(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: p{number}}}, spec: {{nodeName: n, containers: [{{name: c}}]}},"
    f" status: {{phase: Running, podIP: 10.0.0.{number}}}}}"
    for number in range(1, 21)
)
STRICT = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: d, namespace: istio-system}, spec: {mtls: {mode: STRICT}}}
"""


async def test_one_change_that_touches_everybody_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED_AT_ONCE", 3)
    feed = Feed(MeshSettings())
    publisher = Publisher(feed)
    await publisher.publish(changes(MANY))
    (strict,) = changes(STRICT)
    for change, lists in ((strict, True), (ObjectChange(strict.key, None), False)):
        publishing, waiting, seen = asyncio.create_task(publisher.publish([change])), feed.changed, set()
        while not publishing.done():
            await asyncio.sleep(0)
            listed = [key for workload in feed.catalogue.workloads.values() for key in workload.policies]
            assert set(listed) <= feed.table(AUTHORIZATION_TYPE).by_name.keys(), "what is listed is there"
            seen.add(len(listed))
            assert waiting.is_set() == publishing.done(), "half of it is published to nobody"
        assert len(seen) >= 7
        assert len(listed) == (20 if lists else 0)
    assert not feed.table(AUTHORIZATION_TYPE).by_name
