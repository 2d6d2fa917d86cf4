"""Everything is asked for once; a refusal is a note and not the end."""

import asyncio
from pathlib import Path

import pytest

from cli.check import cluster, release
from cli.check.collect import collect
from tests.kubernetes_answers import refusal
from tests.kubernetes_server import Answer, Asked, Transcript, connected


def _answer(asked: Asked) -> Answer:
    kind = asked.path.rpartition("/")[2]
    if kind == "version":
        return Answer({"gitVersion": "v1.33.2"})
    if kind == "selfsubjectaccessreviews":
        return Answer({"status": {"allowed": asked.body["spec"]["resourceAttributes"]["resource"] != "services"}})
    if kind == "subjectaccessreviews":
        assert asked.body["spec"]["user"].startswith("system:serviceaccount:mesh:ambient")
        return Answer({"status": {"allowed": asked.body["spec"]["resourceAttributes"]["subresource"] != "status"}})
    if kind == "nodes":
        return Answer(refusal(403, "Forbidden", "no"), 403)
    if kind == "cilium-config":
        return Answer(refusal(404, "NotFound"), 404)
    if kind == "pods":
        first = "continue" not in asked.query
        return Answer({"items": [{"metadata": {"name": "a" if first else "b"}}], "metadata": {"continue": "more" if first else ""}})
    return Answer({"items": []})


class Answering(Transcript):
    """Answers by what is asked, in whichever order."""

    async def serve(self, request):  # type: ignore[no-untyped-def]
        body = await request.json() if request.can_read_body else None
        self.say(_answer(Asked(request.method, request.path, dict(request.query), {}, body)))
        # One at a time: the answer that was put last is the one that is taken.
        return await super().serve(request)


async def test_facts(tmp_path: Path) -> None:
    async with connected(Answering(), tmp_path) as api:
        facts = await collect(api, "mesh", "0.1.0", "ebpf")
    assert facts.server == {"gitVersion": "v1.33.2"}
    assert facts.clock_s == pytest.approx(0, abs=2)
    assert [str(one) for one, allowed in facts.allowed.items() if not allowed] == ["create services", "patch pods/status"]
    assert facts.allowed.keys() == {*cluster.QUESTIONS, *release.QUESTIONS}
    assert [one["metadata"]["name"] for one in facts.lists["pods"]] == ["a", "b"]
    assert facts.missing == {"nodes": "403 Forbidden: no"}


async def test_nobody_there(tmp_path: Path) -> None:
    transcript = Transcript()
    async with connected(transcript, tmp_path) as api:
        transcript.say(Answer(refusal(401, "Unauthorized", "who are you"), 401))
        facts = await asyncio.wait_for(collect(api, "mesh", "0.1.0", "ebpf"), 10)
    assert facts.server is None
    assert "who are you" in facts.unreached
