"""Following a kind at a server that answers as it likes: what is told, what is asked, what is logged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from runtime.kubernetes import Batch, Following, Reflector, Selection
from runtime.kubernetes.resources import NAMESPACES, PODS
from tests.coroutines import running
from tests.kubernetes_answers import bookmark, event, lines, listing, refusal, thing
from tests.kubernetes_server import Answer, Asked, Transcript, connected


@dataclass
class Follower:
    """What was told, a list of names a batch ("-" before what is gone, "." at the end of a list), and how long was waited."""

    transcript: Transcript
    told: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)
    waits: list[float] = field(default_factory=list)

    async def take(self, batch: Batch) -> None:
        names = [("-" if one.data is None else "") + one.name.name for one in batch.changes]
        self.told.put_nowait(names + ["."] * batch.listed)

    async def pause(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        await asyncio.sleep(0)

    async def asked(self) -> Asked:
        return await self.transcript.asked.get()


@asynccontextmanager
async def follower(directory: Path, following: Following) -> AsyncIterator[Follower]:
    one = Follower(Transcript())
    async with connected(one.transcript, directory) as api, running(Reflector(api, following, one.take, pause=one.pause).follow()):
        yield one


async def test_list_watch_and_again(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with follower(tmp_path, Following((PODS,))) as one:
            one.transcript.say(
                Answer(listing([thing("a", 1)], 5, more="x")),
                Answer(listing([thing("b", 2)], 5)),
                Answer(lines(event("ADDED", thing("c", 6)), bookmark(8))),
                Answer(lines(event("DELETED", thing("a", 9)), event("ERROR", refusal(410, "Expired")))),
                Answer(listing([thing("b", 2), thing("d", 12)], 20)),
                Answer(b"", held=True),
            )
            assert [await one.told.get() for _ in range(5)] == [["a"], ["b", "."], ["c"], ["-a"], ["d", "-c", "."]]
            asked = [await one.asked() for _ in range(6)]
    assert [one.query.get("resourceVersion") for one in asked] == [None, None, "5", "8", None, "20"]
    assert [log["event"] for log in logs] == ["kind_listed", "kind_not_followed", "kind_listed", "kind_followed_again"]


async def test_whatever_is_answered_it_goes_on(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with follower(tmp_path, Following((PODS,))) as one:
            one.transcript.say(
                Answer(b"<html>", 502),
                Answer(b'{"kind": "PodList"', cut=True),
                Answer(b"{}"),
                Answer(listing([thing("a", 1)], 5)),
                Answer(b"[" * 100_000 + b"\n"),
                Answer(lines(event("ADDED", thing("b", 6))) + b'{"type": "ADD', cut=True),
                Answer(lines(event("ADDED", thing("c", 7))) + b'{"type": "ADD'),
                Answer(lines(event("ADDED", thing("d", 8, kind="Service")))),
                Answer(lines(event("ADDED", thing("d", 8))), held=True),
            )
            assert [await one.told.get() for _ in range(4)] == [["a", "."], ["b"], ["c"], ["d"]]
            versions = [(await one.asked()).query.get("resourceVersion") for _ in range(9)]
    assert versions == [None, None, None, None, "5", "5", "6", "7", "7"]
    assert next(log["error"] for log in logs if log["event"] == "kind_not_followed") == "502: not a JSON object: '<html>'"
    assert logs[-1]["event"] == "kind_followed_again"
    assert min(wait for wait in one.waits[1:4]) > 0


async def test_a_kind_that_is_not_there_is_told_as_an_empty_list(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with follower(tmp_path, Following((PODS,), optional=True)) as one:
            missing = Answer(refusal(404, "NotFound"), 404)
            one.transcript.say(missing, missing, Answer(listing([thing("a", 1)], 5)), Answer(b"", held=True))
            assert [await one.told.get() for _ in range(2)] == [["."], ["a", "."]]
    assert [log["event"] for log in logs] == ["kind_not_followed", "kind_listed", "kind_followed_again"]
    assert one.waits[1] < 3
    assert one.waits[2] >= 15


async def test_metadata_alone_is_asked_for(tmp_path: Path) -> None:
    kind = "PartialObjectMetadata"
    async with follower(tmp_path, Following((NAMESPACES,), Selection(metadata_only=True))) as one:
        one.transcript.say(Answer(listing([], 5, kind=kind + "List")), Answer(lines(event("ADDED", thing("a", 6, "", kind))), held=True))
        assert [await one.told.get() for _ in range(2)] == [["."], ["a"]]
        accepted = [(await one.asked()).headers["Accept"] for _ in range(2)]
    assert accepted == [f"application/json;as={kind}List;g=meta.k8s.io;v=v1", f"application/json;as={kind};g=meta.k8s.io;v=v1"]
