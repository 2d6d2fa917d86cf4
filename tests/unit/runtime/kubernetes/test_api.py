"""Requests to a server that answers as it likes."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesh.errors import ApiError, ApiUnreachable, BrokenAnswer
from runtime.kubernetes import Api, api, load_access
from runtime.kubernetes.resources import LEASES, NODES, PODS
from tests.kubernetes_answers import refusal, thing
from tests.kubernetes_server import Answer, Transcript, connected, serving, write_kubeconfig


async def test_verbs(tmp_path: Path) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as client:
        transcript.say(*[Answer(thing("a", number)) for number in range(5)], Answer({"kind": "Status"}))
        assert await client.get(PODS, "shop", "a") == thing("a", 0)
        await client.create(LEASES, "shop", {"metadata": {"name": "a"}})
        await client.replace(LEASES, "shop", "a", {"metadata": {"name": "a", "resourceVersion": "1"}})
        await client.merge(PODS, "shop", "a", {"metadata": {"annotations": {"x": None}}}, "status")
        await client.apply(NODES, "", "n1", {"status": {}}, manager="ambient", subresource="status")
        await client.delete(PODS, "shop", "a")
    asked = [transcript.asked.get_nowait() for _ in range(6)]
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    assert [(one.method, one.path, one.body) for one in asked] == [
        ("GET", "/api/v1/namespaces/shop/pods/a", None),
        ("POST", leases, {**lease, "metadata": {"name": "a"}}),
        ("PUT", f"{leases}/a", {**lease, "metadata": {"name": "a", "resourceVersion": "1"}}),
        ("PATCH", "/api/v1/namespaces/shop/pods/a/status", {"metadata": {"annotations": {"x": None}}}),
        ("PATCH", "/api/v1/nodes/n1/status", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {}}),
        ("DELETE", "/api/v1/namespaces/shop/pods/a", None),
    ]
    assert {one.headers["Authorization"] for one in asked} == {"Bearer secret"}
    assert [one.headers["Content-Type"] for one in asked[3:5]] == ["application/merge-patch+json", "application/apply-patch+yaml"]
    assert asked[4].query == {"fieldManager": "ambient", "force": "true"}


async def test_what_is_not_there_and_what_is_refused(tmp_path: Path) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as client:
        transcript.say(Answer(refusal(404, "NotFound"), 404), Answer(refusal(409, "Conflict", "newer"), 409), Answer(b"<html>", 503))
        assert await client.get(PODS, "shop", "a") is None
        with pytest.raises(ApiError, match="409 Conflict: newer") as conflict:
            await client.replace(PODS, "shop", "a", {})
        assert (conflict.value.status, conflict.value.retryable) == (409, False)
        with pytest.raises(ApiError, match="503") as away:
            await client.get(PODS, "shop", "a")
        assert away.value.retryable


@pytest.mark.parametrize("answer", [Answer(b"{"), Answer(b"[]"), Answer([1]), Answer(b"x" * 101)])
async def test_what_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setattr(api, "MAX_ANSWER_BYTES", 100)
    transcript = Transcript()
    async with connected(transcript, tmp_path) as client:
        transcript.say(answer)
        with pytest.raises(BrokenAnswer):
            await client.get(PODS, "shop", "a")


async def test_nobody_there_and_a_broken_connection(tmp_path: Path) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as client:
        transcript.say(Answer(b'{"a', cut=True))
        with pytest.raises(ApiUnreachable):
            await client.get(PODS, "shop", "a")
    nobody = write_kubeconfig(tmp_path / "nobody", "http://127.0.0.1:1")
    async with Api(await load_access(nobody), nobody) as client:
        with pytest.raises(ApiUnreachable, match="Cannot connect"):
            await client.get(PODS, "shop", "a")


async def test_a_configuration_that_the_server_no_longer_takes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_RELOAD_EVERY_S", 0.0)
    transcript = Transcript()
    async with serving(transcript) as port:
        token = tmp_path / "token"
        token.write_text("first")
        path = write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{port}", tokenFile=str(token))
        async with Api(await load_access(path), path) as client:
            transcript.say(Answer(thing("a", 1)), Answer(refusal(401, "Unauthorized"), 401), Answer(thing("a", 1)))
            await client.get(PODS, "shop", "a")
            token.write_text("second")
            with pytest.raises(ApiError):
                await client.get(PODS, "shop", "a")
            await client.get(PODS, "shop", "a")
    assert [transcript.asked.get_nowait().headers["Authorization"] for _ in range(3)] == ["Bearer first", "Bearer first", "Bearer second"]


@pytest.mark.parametrize("ahead_s", [0, 3600, -3600])
async def test_the_server_s_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as client:
        transcript.say(Answer({"gitVersion": "v1.33.2"}))
        now_s = time.time()
        # The server's own clock goes on as it does.
        monkeypatch.setattr(api, "time", SimpleNamespace(time=lambda: now_s - ahead_s, monotonic=time.monotonic))
        assert await client.clock_ahead_s() == pytest.approx(ahead_s, abs=2)


@pytest.mark.parametrize(
    ("date", "ahead_s"), [("Thu, 01 Jan 2026 01:00:00 GMT", 3600), ("yesterday", 0), ("Thu, 99 Jan 2026 01:00:00 GMT", 0)]
)
async def test_the_server_s_clock_is_compared_with_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, date: str, ahead_s: int) -> None:
    monkeypatch.setattr(api.time, "time", lambda: 1767225600.0)
    transcript = Transcript()
    async with connected(transcript, tmp_path) as client:
        transcript.say(Answer(thing("a", 1), headers={"Date": date}))
        await client.get(PODS, "shop", "a")
        assert client.server_ahead_s == ahead_s
