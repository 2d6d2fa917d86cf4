"""The lab with the mesh in it: what it starts, restarts, says and takes down again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import api
from lab.api import Lab
from lab.layout import Layout
from lab.options import CAPTURE_MODES, Options
from lab.processes import process_id

SAMPLE = Path(api.__file__).parent / "manifests"
AMBIENT = str(Path(sys.executable).parent / "ambient")
LABEL = "istio.io/dataplane-mode"


def until(holds: Callable[[], bool], time_limit_s: float) -> None:
    deadline = time.monotonic() + time_limit_s
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


def mesh_states(lab: Lab) -> set[str]:
    return {pod["mesh"] for pod in lab.status()["pods"]}


def answers(lab: Lab) -> bool:
    return lab.run("client", ["python3", "-m", "lab.sample.get", "http://web/"]).returncode == 0


def pid_of(lab: Lab, program: str) -> int:
    path = lab.layout.controlplane / "controlplane.pid" if program == "controlplane" else lab.layout.node("node1") / f"{program}.pid"
    return int(path.read_text()) if path.exists() and path.read_text() else 0


@pytest.mark.parametrize("capture", CAPTURE_MODES)
def test_pods_join_and_leave_by_a_label_and_nothing_of_the_mesh_is_left(layout: Layout, capture: str):
    lab = api.up(layout, Options(capture=capture), api.read_manifests(SAMPLE))
    assert mesh_states(lab) == {"-"}
    assert answers(lab)
    lab.label("namespace", "default", {LABEL: "ambient"})
    lab.wait(20)
    assert mesh_states(lab) == {"captured"}
    assert answers(lab)
    lab.label("namespace", "default", {LABEL: None})
    lab.wait(20)
    assert mesh_states(lab) == {"-"}
    assert answers(lab)
    lab.label("namespace", "default", {LABEL: "ambient"})
    lab.wait(20)
    api.down(layout)
    assert not layout.root.exists()
    assert layout.name not in Path("/proc/self/mountinfo").read_text()


def test_pods_that_are_labelled_from_the_start_are_captured_when_up_returns(layout: Layout):
    labelled = {"ns.yaml": f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: default, labels: {{{LABEL}: ambient}}}}"}
    lab = api.up(layout, Options(), api.read_manifests(SAMPLE) | labelled)
    assert mesh_states(lab) == {"captured"}
    assert answers(lab)


def test_every_program_that_is_killed_comes_back_and_the_lab_settles(layout: Layout):
    lab = api.up(layout, Options(), api.read_manifests(SAMPLE))
    lab.label("namespace", "default", {LABEL: "ambient"})
    lab.wait(20)
    for program in ("ztunnel", "agent", "controlplane"):
        old = pid_of(lab, program)
        assert process_id(old) is not None
        os.kill(old, signal.SIGKILL)
        until(lambda old=old, program=program: pid_of(lab, program) not in (0, old), 1)
        lab.wait(20)
        assert answers(lab)
        assert mesh_states(lab) == {"captured"}


def test_programs_that_are_stopped_stay_away_until_they_are_started(layout: Layout):
    lab = api.up(layout, Options(), api.read_manifests(SAMPLE))
    env = {**os.environ, "AMBIENT_LAB": layout.name}
    for program, names in (("controlplane", ["controlplane"]), ("ztunnel", ["ztunnel of node1", "ztunnel of node2"])):
        subprocess.run([AMBIENT, "lab", "stop", program], env=env, check=True)
        status = lab.status()
        assert status["stopped"] == names
        assert {status["programs"][name] for name in names} == {False}
        # Nobody waits for what was stopped.
        lab.wait(20)
        subprocess.run([AMBIENT, "lab", "start", program], env=env, check=True)
        assert lab.status()["stopped"] == []
        assert all(lab.status()["programs"].values())


def test_a_pod_that_is_deleted_while_captured_leaves_nothing(layout: Layout):
    lab = api.up(layout, Options(), api.read_manifests(SAMPLE))
    lab.label("namespace", "default", {LABEL: "ambient"})
    lab.wait(20)
    uid = next(pod["uid"] for pod in lab.status()["pods"] if pod["name"] == "web-1")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-1}\nspec: {containers: [{name: a, command: [b]}]}"
    lab.delete({"web-1.yaml": pod})
    until(lambda: not [path for path in layout.bpffs.rglob("*") if uid in str(path)], 5)
    lab.wait(20)
    assert answers(lab)


@pytest.mark.parametrize("capture", CAPTURE_MODES)
def test_the_demonstration_holds(layout: Layout, capture: str):
    done = subprocess.run(
        [AMBIENT, "demo", "--capture", capture], env={**os.environ, "AMBIENT_LAB": layout.name}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 11
    assert "✗" not in done.stdout
    assert not layout.root.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demonstration_that_is_interrupted_leaves_nothing(layout: Layout, number: signal.Signals):
    env = {**os.environ, "AMBIENT_LAB": layout.name, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([AMBIENT, "demo"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("One label"):
                break
        process.send_signal(number)
        assert process.wait(20) != 0
    assert not layout.root.exists()
    assert layout.name not in Path("/proc/self/mountinfo").read_text()
