"""The patrol over captured pods, over a fake of the kernel."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from daemonset import agent as agent_module
from daemonset.actions import HeldPod
from daemonset.agent import Agent
from daemonset.capture.kernel import Site
from daemonset.ownership import Ownership
from daemonset.pods import PodInfo
from daemonset.reconcile import Stage
from mesh.model import IPAddress


class FakeKernel:
    """Stands where the Capturer does; `when_verified` is called with the name of each pod that is checked."""

    def __init__(self) -> None:
        self.when_verified: Callable[[str], None] = lambda name: None

    async def verify(self, site: Site) -> tuple[()]:
        self.when_verified(site.name)
        return ()


class FakeRules:
    async def keep(self, addresses: frozenset[IPAddress]) -> None:
        pass


def captured(uid: str) -> HeldPod:
    """A pod whose namespace is never looked at."""
    return HeldPod(PodInfo(uid, uid, "shop", "web"), (0, 0), Site(uid, -1, Path("/nowhere") / uid), stage=Stage.CAPTURED)


def test_patrol_leaves_a_pod_alone_that_went_while_another_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its file descriptor is closed, and may be that of another pod's namespace by now."""
    monkeypatch.setattr(agent_module, "_CHECK_S", 0)
    checked: list[str] = []

    async def patrol() -> None:
        kernel, twice = FakeKernel(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            agent = Agent(lambda uid: -1, tmp_path / "ztunnel.sock", kernel, FakeRules(), Ownership(None), group)
            agent._pods.update({uid: captured(uid) for uid in ("stays", "goes")})

            def check(name: str) -> None:
                checked.append(name)
                agent._pods.pop("goes", None)
                if len(checked) == 2:
                    twice.set()

            kernel.when_verified = check
            patrolling = group.create_task(agent.patrol())
            await twice.wait()
            patrolling.cancel()

    asyncio.run(patrol())
    assert checked == ["stays", "stays"]
