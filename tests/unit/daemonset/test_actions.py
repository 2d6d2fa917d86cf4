"""The order of what is done to one pod, as transcripts over fakes of ztunnel and the kernel."""

import asyncio
import os
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from daemonset import actions
from daemonset.actions import Actions, HeldPod
from daemonset.capture.apply import Finding
from daemonset.capture.items import LoopFilter
from daemonset.capture.kernel import Site
from daemonset.pods import PodInfo
from daemonset.reconcile import Stage
from mesh.errors import CaptureError
from mesh.model import IPAddress

ADDRESS = IPv4Address("10.0.0.1")


class FakeKernel:
    """Stands where the Capturer does; says what was asked of it."""

    def __init__(self, said: list[str]) -> None:
        self.said = said
        self.findings: tuple[Finding, ...] = ()
        self.connections: list[int] = []
        self.holds = True
        self.broken = ""
        self.when_drained: Callable[[], None] = lambda: None

    async def addresses(self, site: Site) -> frozenset[IPAddress]:
        return frozenset({ADDRESS})

    async def capture(self, site: Site) -> tuple[()]:
        return self._say("capture", ())

    async def verify(self, site: Site) -> tuple[Finding, ...]:
        return self._say("verify", self.findings)

    async def adopt(self, site: Site) -> None:
        self._say("adopt", None)

    async def drain(self, site: Site) -> None:
        self._say("drain", None)
        self.when_drained()

    async def undo(self, site: Site) -> None:
        self._say("undo", None)

    async def holds_anything(self, site: Site) -> bool:
        return self.holds

    async def carried(self, site: Site) -> int:
        return self.connections.pop(0) if self.connections else 0

    def unpin(self, uid: str) -> None:
        self._say("unpin", None)

    def _say(self, what: str, result):
        self.said.append(what)
        if what == self.broken:
            raise CaptureError("web", what, 5)
        return result


class FakeRules:
    """Stands where the ProbeRules do."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    async def cover(self, addresses: frozenset[IPAddress]) -> None:
        self.said.append(f"cover {', '.join(map(str, addresses))}")


class FakeZtunnel:
    """Stands where the ZdsServer does."""

    def __init__(self, said: list[str]) -> None:
        self.said = said
        self.serves = True
        self.connected = True

    async def wait_served(self, uid: str, timeout_s: float) -> bool:
        self.said.append("served" if self.serves else "not served")
        return self.serves

    async def withdraw(self, uid: str, timeout_s: float) -> bool:
        self.said.append("withdraw")
        return True

    def refusal(self, uid: str) -> str:
        return "" if self.serves else "no ztunnel is connected"


class World:
    """One held pod, and everything that was done, in order."""

    def __init__(self, netns: int) -> None:
        self.said: list[str] = []
        self.kernel, self.ztunnel = FakeKernel(self.said), FakeZtunnel(self.said)
        self.wanted = False
        self.pod = HeldPod(PodInfo("uid", "web", "shop", "default"), (4, 1), Site("shop/web", netns, Path("/pins")))
        self.actions = Actions(self.kernel, self.ztunnel, FakeRules(self.said), lambda uid: self.wanted)

    def run(self, action) -> bool:
        return asyncio.run(action(self.pod))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(actions, "_POLL_S", 0)
    monkeypatch.setattr(actions, "_FAREWELL_S", 0)
    netns = os.open(tmp_path, os.O_RDONLY)
    yield World(netns)
    try:
        os.close(netns)
    except OSError:
        return


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_capture_waits_for_ztunnel_and_is_verified(world: World) -> None:
    assert world.run(world.actions.enrol)
    assert world.said == ["served", "cover 10.0.0.1", "capture", "verify"]
    assert world.pod.stage is Stage.CAPTURED


def test_without_ztunnel_nothing_is_captured(world: World) -> None:
    world.ztunnel.serves = False
    with pytest.raises(CaptureError, match="no ztunnel is connected"):
        world.run(world.actions.enrol)
    assert world.said == ["not served"]
    assert world.pod.stage is Stage.ENTERING


def test_what_does_not_verify_does_not_count_as_captured(world: World) -> None:
    world.kernel.findings = (Finding("missing", LoopFilter()),)
    with pytest.raises(CaptureError, match="missing: filter on lo"):
        world.run(world.actions.enrol)
    assert world.pod.stage is Stage.ENTERING


def test_release_drains_then_tells_ztunnel_then_undoes(world: World) -> None:
    world.kernel.connections = [2, 1, 0]
    assert world.run(world.actions.release)
    assert world.said == ["drain", "withdraw", "undo"]
    assert world.kernel.connections == []
    assert not is_open(world.pod.site.netns)


def test_draining_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_DRAIN_S", 0)
    monkeypatch.setattr(actions, "_CLOSE_S", 0)
    world.kernel.connections = [1] * 10
    assert world.run(world.actions.release)
    assert world.said == ["drain", "withdraw", "undo"]


def test_release_is_taken_back_while_it_drains(world: World) -> None:
    world.kernel.when_drained = lambda: setattr(world, "wanted", True)
    world.kernel.connections = [1] * 10
    assert not world.run(world.actions.release)
    assert world.said == ["drain"]
    assert world.pod.stage is Stage.ENTERING
    assert is_open(world.pod.site.netns)


def test_a_release_is_taken_back_before_anything_is_done(world: World) -> None:
    world.wanted = True
    assert not world.run(world.actions.release)
    assert world.said == []
    assert world.pod.stage is Stage.ENTERING


def test_a_pod_that_was_never_captured_is_not_drained(world: World) -> None:
    world.kernel.holds = False
    assert world.run(world.actions.release)
    assert world.said == ["withdraw", "undo"]


def test_a_release_that_fails_holds_on(world: World) -> None:
    world.kernel.broken = "undo"
    with pytest.raises(CaptureError):
        world.run(world.actions.release)
    assert is_open(world.pod.site.netns)
    assert world.pod.stage is Stage.LEAVING


def test_a_pod_whose_namespace_is_half_gone_is_forgotten_all_the_same(world: World) -> None:
    world.kernel.broken = "undo"
    assert world.run(world.actions.forget)
    assert world.said == ["undo", "unpin", "withdraw"]
    assert not is_open(world.pod.site.netns)


def test_a_check_repairs_what_differs(world: World) -> None:
    world.kernel.findings = (Finding("missing", LoopFilter()),)
    world.run(world.actions.check)
    assert world.said == ["verify", "capture"]


@pytest.mark.parametrize(("connected", "said"), [(True, ["verify", "adopt"]), (False, ["verify"])])
def test_a_check_looks_for_listeners_while_there_is_a_ztunnel(world: World, connected: bool, said: list[str]) -> None:
    world.ztunnel.connected = connected
    world.run(world.actions.check)
    assert world.said == said
