"""Fixtures of the capture tests: a pod, a peer, a ztunnel in the pod, and both ways of capture."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from daemonset.capture.apply import adopt, apply, survey
from daemonset.capture.items import Mode, Phase, Plan
from daemonset.capture.plan import plan_capture
from ebpf.sockets import SocketWalker
from tests.netns.capture.ground import BPFFS, Ground, make_ground
from tests.netns.capture.ztunnel import Ztunnel


@pytest.fixture(scope="session", autouse=True)
def _bpffs() -> None:
    """Mounted once and left: other tests, and a mesh of the machine, may have pins there."""
    subprocess.run("mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf", shell=True, check=True)
    BPFFS.mkdir(exist_ok=True)


@pytest.fixture
def ground() -> Iterator[Ground]:
    with make_ground() as made:
        yield made


@pytest.fixture(params=[Mode.EBPF, Mode.IPTABLES], ids=["ebpf", "iptables"])
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    return request.param


@pytest.fixture
def walker(mode: Mode) -> Iterator[SocketWalker | None]:
    walker = SocketWalker() if mode is Mode.EBPF else None
    yield walker
    if walker:
        walker.close()


@pytest.fixture
def ztunnel(ground: Ground) -> Iterator[Ztunnel]:
    with Ztunnel(ground.pod) as running:
        yield running


@pytest.fixture
def plan(ground: Ground, mode: Mode) -> Plan:
    return plan_capture(mode, Phase.CAPTURE, survey(ground.site))


@pytest.fixture
def captured(ground: Ground, plan: Plan, ztunnel: Ztunnel, walker: SocketWalker | None) -> Ztunnel:
    """The pod is captured, and this is its ztunnel."""
    apply(ground.site, plan, walker)
    assert adopt(ground.site, walker) == ()
    return ztunnel
