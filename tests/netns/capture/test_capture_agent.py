"""The agent as a process: labels, restarts of either side, namespaces that come and go."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemonset.capture.items import Mode
from tests.netns.capture.agent import UID, AgentProcess, ZdsZtunnel, wait_until
from tests.netns.capture.ground import Ground, snapshot, tcp
from tests.netns.capture.test_capture_traffic import ask, echo_server
from tests.netns.capture.ztunnel import Ztunnel


@pytest.fixture
def agent(tmp_path: Path, ground: Ground, mode: Mode) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path, ground, mode) as agent:
        agent.label("ambient")
        agent.start()
        yield agent


@pytest.fixture
def enrolled(agent: AgentProcess, ztunnel: Ztunnel) -> Iterator[ZdsZtunnel]:
    """The pod is captured, and both sides run."""
    with ZdsZtunnel(agent.socket_path, ztunnel) as zds:
        wait_until(agent.captured, agent.log)
        yield zds


def outgoing_is_captured(ground: Ground, ztunnel: Ztunnel) -> bool:
    listener, _ = echo_server(ground.peer, socket.AF_INET)
    before = len(ztunnel.taken)
    with listener:
        assert ask(ground.pod, socket.AF_INET, listener.getsockname())[0] == b"hello"
    return len(ztunnel.taken) > before


def test_labels_act_within_a_second(ground: Ground, agent: AgentProcess, enrolled: ZdsZtunnel, ztunnel: Ztunnel) -> None:
    """The best of three: the machine may be busy with other tests."""
    released, captured = [], []
    for _ in range(3):
        assert outgoing_is_captured(ground, ztunnel)
        agent.label("none")
        released.append(wait_until(lambda: agent.pods() == [], agent.log))
        assert not outgoing_is_captured(ground, ztunnel)
        assert enrolled.heard[-1] == "del"
        assert not agent.pins.exists()
        agent.label("ambient")
        captured.append(wait_until(agent.captured, agent.log))
    assert outgoing_is_captured(ground, ztunnel)
    assert enrolled.heard == ["add", "snapshot_sent", *["del", "add"] * 3]
    assert min(released) < 1
    assert min(captured) < 1


def test_release_leaves_no_trace(ground: Ground, agent: AgentProcess, ztunnel: Ztunnel) -> None:
    before = snapshot(ground.pod)
    with ZdsZtunnel(agent.socket_path, ztunnel):
        wait_until(agent.captured, agent.log)
        assert snapshot(ground.pod) != before
        agent.label("none")
        wait_until(lambda: agent.pods() == [], agent.log)
    assert snapshot(ground.pod) == before


def test_killed_agent_leaves_capture_and_its_successor_takes_over(
    ground: Ground, agent: AgentProcess, enrolled: ZdsZtunnel, ztunnel: Ztunnel
) -> None:
    held = snapshot(ground.pod)
    agent.kill()
    assert outgoing_is_captured(ground, ztunnel)
    agent.start()
    wait_until(agent.captured, agent.log)
    assert snapshot(ground.pod) == held
    assert outgoing_is_captured(ground, ztunnel)
    assert agent.terminate() == 0
    assert snapshot(ground.pod) == held


def test_label_removed_while_no_agent_ran(ground: Ground, agent: AgentProcess, enrolled: ZdsZtunnel, ztunnel: Ztunnel) -> None:
    agent.kill()
    agent.label("none")
    agent.start()
    wait_until(lambda: agent.pods() == [] and not agent.pins.exists(), agent.log)
    assert not outgoing_is_captured(ground, ztunnel)
    assert "AMBIENT" not in snapshot(ground.pod)


def test_ztunnel_restarts(ground: Ground, agent: AgentProcess, ztunnel: Ztunnel) -> None:
    with ZdsZtunnel(agent.socket_path, ztunnel):
        wait_until(agent.captured, agent.log)
    ztunnel.close_listeners()
    listener, seen = echo_server(ground.peer, socket.AF_INET)
    with listener:
        with ground.pod.run(lambda: tcp(socket.AF_INET)) as sock:
            sock.settimeout(0.5)
            with pytest.raises(OSError):
                sock.connect(listener.getsockname())
        assert seen == []
        assert agent.captured()
        assert agent.pods()[0]["error"] == "no ztunnel is connected"
    with ZdsZtunnel(agent.socket_path, ztunnel):
        wait_until(lambda: agent.captured() and not agent.pods()[0]["error"], agent.log)
        assert outgoing_is_captured(ground, ztunnel)


def test_namespace_disappears(ground: Ground, agent: AgentProcess, enrolled: ZdsZtunnel) -> None:
    (agent.netns / UID).unlink()
    wait_until(lambda: agent.pods() == [], agent.log)
    assert enrolled.heard == ["add", "snapshot_sent", "del"]
    assert not agent.pins.exists()
    (agent.netns / UID).symlink_to(f"/run/netns/{ground.pod.name}")
    wait_until(agent.captured, agent.log)


def test_what_is_broken_is_repaired_and_told(ground: Ground, agent: AgentProcess, enrolled: ZdsZtunnel, ztunnel: Ztunnel) -> None:
    held = snapshot(ground.pod)
    ground.pod.shell("ip rule del pref 13")
    wait_until(lambda: "capture_repaired" in agent.log(), agent.log)
    assert "missing: IPv4 rule 13" in agent.log()
    assert snapshot(ground.pod) == held
