"""What is made before Helm, and removed after it; and the order in which nodes are freed."""

import time
from pathlib import Path
from typing import Any

import pytest

from cli.free_nodes import NodesHeldError, held_nodes, is_complete, remove
from cli.install.cluster import NotReadyError, make_namespace, remove_definitions, remove_namespace, wait_until_ready
from tests.kubernetes_answers import refusal
from tests.kubernetes_server import Answer, Transcript, connected

OURS = {"app.kubernetes.io/part-of": "ambient-mesh"}
ABSENT = Answer(refusal(404, "NotFound"), 404)
DONE = Answer({"kind": "Status", "status": "Success"})
READY = {"observedGeneration": 1, "desiredNumberScheduled": 1, "numberReady": 1, "updatedNumberScheduled": 1}


def _namespace(**labels: str) -> Answer:
    return Answer({"metadata": {"name": "mesh", "labels": labels}})


def _pod(number: int, *, ready: bool) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {"metadata": {"name": f"p{number}"}, "spec": {"nodeName": f"n{number}"}, "status": {"conditions": [condition]}}


def _pods(*ready: bool) -> Answer:
    return Answer({"items": [_pod(number, ready=one) for number, one in enumerate(ready)]})


def _daemonset(**status: int) -> dict[str, Any]:
    return {"kind": "DaemonSet", "metadata": {"name": "x", "generation": 1}, "status": READY | status}


def _definition(name: str) -> dict[str, Any]:
    names = {"plural": name, "kind": name.title()}
    return {"metadata": {"name": f"{name}.x"}, "spec": {"group": "x", "names": names, "versions": [{"name": "v1", "served": True}]}}


def _deployment() -> Answer:
    status = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
    return Answer({"kind": "Deployment", "metadata": {"name": "x", "generation": 1}, "spec": {"replicas": 1}, "status": status})


async def _asked(transcript: Transcript) -> list[str]:
    return [f"{one.method} {one.path}" for one in [transcript.asked.get_nowait() for _ in range(transcript.asked.qsize())]]


async def test_a_namespace_is_made_once_and_admits_the_agents(tmp_path: Path) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as api:
        transcript.say(ABSENT, DONE, _namespace())
        assert await make_namespace(api, "mesh")
        assert not await make_namespace(api, "mesh")
    await transcript.asked.get()
    labels = (await transcript.asked.get()).body["metadata"]["labels"]
    assert labels == OURS | {"pod-security.kubernetes.io/enforce": "privileged"}


async def test_only_our_namespace_is_removed(tmp_path: Path) -> None:
    transcript, said = Transcript(), list[str]()
    async with connected(transcript, tmp_path) as api:
        transcript.say(_namespace(), ABSENT, _namespace(**OURS), DONE)
        for _ in range(3):
            await remove_namespace(api, "mesh", said.append)
    assert said == ["namespace mesh removed"]


async def test_definitions_that_are_used_stay(tmp_path: Path) -> None:
    transcript, said = Transcript(), list[str]()
    async with connected(transcript, tmp_path) as api:
        listed = Answer({"items": [_definition("used"), _definition("free")]})
        transcript.say(listed, Answer({"items": [{}], "metadata": {"remainingItemCount": 4}}), Answer({"items": []}), DONE)
        await remove_definitions(api, said.append)
    assert [one.partition(":")[0] for one in said] == ["used.x stays", "free.x removed"]
    assert "there are 5 of them" in said[0]
    assert (await _asked(transcript))[-1].endswith("DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/free.x")


async def test_waiting_says_what_changes_and_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.install.cluster._POLL_S", 0.0)
    transcript, said = Transcript(), list[str]()
    waiting = Answer(_daemonset(numberReady=0))
    async with connected(transcript, tmp_path) as api:
        transcript.say(_deployment(), waiting, _deployment(), waiting, _deployment(), Answer(_daemonset()))
        await wait_until_ready(api, "mesh", 60, said.append)
        transcript.say(_deployment(), waiting)
        with pytest.raises(NotReadyError, match="nodes: 0 of 1 ready"):
            await wait_until_ready(api, "mesh", 0, lambda _: None)
    assert said == ["control plane: 1 of 1 ready", "nodes: 0 of 1 ready", "nodes: 1 of 1 ready"]


async def test_nothing_is_removed_before_every_node_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.free_nodes._POLL_S", 0.0)
    transcript = Transcript()
    async with connected(transcript, tmp_path) as api:
        held, free = (Answer(_daemonset(numberReady=0)), _pods(False)), (Answer(_daemonset()), _pods(True))
        # The DaemonSet ends after one more look; the lease is not there.
        transcript.say(*held, *free, DONE, _pods(True), _pods(), DONE, _pods(), DONE, DONE, ABSENT, DONE, _pods())
        await remove(api, "mesh", time.monotonic() + 60)
    asked = await _asked(transcript)
    assert [one.rpartition("/")[2] for one in asked if one.startswith("DELETE")] == [
        "ambient",
        "ambient-controlplane",
        "ambient-ca",
        "istio-ca-root-cert",
        "ambient-controlplane",
        "ambient-uninstall",
    ]
    assert asked[:4] == [
        f"GET {path}" for path in 2 * ("/apis/apps/v1/namespaces/mesh/daemonsets/ambient-uninstall", "/api/v1/namespaces/mesh/pods")
    ]


async def test_a_node_that_is_held_is_named(tmp_path: Path) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as api:
        transcript.say(Answer(_daemonset(desiredNumberScheduled=2)), _pods(True, False))
        with pytest.raises(NodesHeldError, match="not freed: n1"):
            await remove(api, "mesh", time.monotonic())
    assert not [one for one in await _asked(transcript) if one.startswith("DELETE")]


def test_a_daemonset_that_was_not_looked_at_is_not_complete() -> None:
    assert not is_complete({"metadata": {"generation": 1}, "status": {}})
    assert not is_complete(_daemonset(observedGeneration=0))
    assert not is_complete(_daemonset(desiredNumberScheduled=2))
    assert is_complete(_daemonset())


def test_a_pod_without_a_node_has_its_own_name() -> None:
    assert held_nodes(({"metadata": {"name": "p"}, "spec": {}},)) == ("p",)
