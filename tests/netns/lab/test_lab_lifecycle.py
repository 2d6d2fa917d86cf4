"""Up and down: in order, after crashes, twice, refused; and nothing is left."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from lab import api
from lab.api import Lab
from lab.errors import LabError
from lab.layout import Layout
from lab.netns import netns_inode, netns_path
from lab.options import Options
from lab.processes import process_id, processes_in
from lab.teardown import read_created
from mesh.errors import ConfigErrors

SAMPLE = Path(api.__file__).parent / "manifests"
AMBIENT = str(Path(sys.executable).parent / "ambient")


def start(layout: Layout, nodes: int = 2) -> Lab:
    return api.up(layout, Options(nodes=nodes, mesh=False), api.read_manifests(SAMPLE))


def root_links() -> set[str]:
    return {line.split(":")[1].strip() for line in subprocess.check_output(["ip", "-oneline", "link"], text=True).splitlines()}


def inodes(layout: Layout) -> frozenset[int]:
    return frozenset(inode for name in read_created(layout).netns if (inode := netns_inode(name)) is not None)


def traces(layout: Layout) -> list[str]:
    """Whatever of a lab can still be seen: files, names, mounts, processes by what their command line says."""
    mounts = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if f"ambient-{layout.name}" in line or f"/{layout.name}-" in line
    ]
    names = [path.name for path in netns_path("").iterdir() if path.name.startswith(f"{layout.name}-")]
    files = [str(layout.root)] if layout.root.exists() else []
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if f"lab.daemon\0{layout.name}\0" in command:
            processes.append(command)
    return mounts + names + files + processes


def test_everything_is_made_outside_of_the_root_namespace_and_nothing_is_left(layout: Layout):
    before = root_links()
    lab = start(layout)
    assert not {"nodes0", "cni0", "eth0@if2"} & (root_links() - before)
    lab.start("client", ["setsid", "sleep", "1000"])
    held = inodes(layout)
    assert len(held) == 7
    processes = {process_id(pid) for pid in processes_in(held)}
    assert len(processes) >= 6
    daemon = read_created(layout).daemon
    assert daemon is not None
    assert api.down(layout)
    assert traces(layout) == []
    assert not any(one is not None and process_id(one.pid) == one for one in (*processes, daemon))
    assert root_links() - before == set()
    assert not api.down(layout)


def test_up_twice_says_so_and_leaves_the_first_alone(layout: Layout):
    lab = start(layout, nodes=1)
    with pytest.raises(LabError, match="is up already"):
        start(layout)
    assert lab.status()["nodes"] == ["node1"]


def test_two_labs_at_once_do_not_meet(layout: Layout):
    other = Layout(layout.name + "b")
    try:
        one, two = start(layout), start(other)
        assert one.run("client", ["python3", "-m", "lab.sample.get", "http://web/"]).returncode == 0
        api.down(layout)
        assert traces(layout) == []
        assert two.run("client", ["python3", "-m", "lab.sample.get", "http://web/"]).returncode == 0
    finally:
        api.down(other)


def kill(pids: Iterable[int]) -> None:
    """Kills, and waits for the kernel to have done so; some die with others before it is their turn."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while process_id(pid) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("how", ["daemon", "daemon and half a record", "every process"])
def test_after_a_crash_down_leaves_nothing(layout: Layout, how: str):
    start(layout)
    daemon = read_created(layout).daemon
    assert daemon is not None
    victims = processes_in(inodes(layout)) if how == "every process" else frozenset()
    kill((daemon.pid, *victims))
    if how == "daemon and half a record":
        with layout.state.open("a") as journal:
            journal.write('{"netns": "nev')
    with pytest.raises(LabError, match="is not up: `ambient lab up`; what a crash left"):
        Lab(layout).status()
    assert api.down(layout)
    assert traces(layout) == []


@pytest.mark.parametrize("killed", [False, True])
def test_down_works_without_its_journal(layout: Layout, killed: bool):
    lab = start(layout)
    daemon = read_created(layout).daemon
    assert daemon is not None
    layout.state.write_bytes(bytes(range(256)))
    if killed:
        kill((daemon.pid,))
    else:
        assert lab.status()["pending"] == []
    assert api.down(layout)
    assert traces(layout) == []


def test_after_a_crash_up_cleans_and_works(layout: Layout):
    start(layout)
    daemon = read_created(layout).daemon
    assert daemon is not None
    kill((daemon.pid,))
    said: list[str] = []
    lab = api.up(layout, Options(nodes=1, mesh=False), {}, said.append)
    assert said[0] == "removed what a lab that crashed had left behind"
    assert lab.status()["pods"] == []


def test_a_name_without_its_namespace_is_removed_too(layout: Layout):
    start(layout, nodes=1)
    subprocess.run(["umount", str(netns_path(layout.node_netns("node1")))], check=True)
    assert api.down(layout)
    assert traces(layout) == []


def test_a_wrong_manifest_starts_nothing(layout: Layout):
    with pytest.raises(ConfigErrors, match=r"a.yaml:1:spec.nodeName"):
        text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: node7, containers: [{name: a, command: [b]}]}"
        api.up(layout, Options(mesh=False), {"a.yaml": text})
    assert traces(layout) == []


def test_what_does_not_get_ready_in_time_is_named_with_its_log_and_nothing_is_left(layout: Layout):
    text = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, command: [sh, -c, "echo the reason; exec sleep 1000"], ports: [{containerPort: 80}]}]}
"""
    with pytest.raises(LabError, match=r"not ready after 4 s: pod default/a: not ready, Running\n.*a.log:\n  the reason"):
        api.up(layout, Options(nodes=1, mesh=False), {"a.yaml": text}, time_limit_s=4)
    assert traces(layout) == []


def test_an_interrupted_up_leaves_nothing(layout: Layout, tmp_path: Path):
    manifest = tmp_path / "never.yaml"
    spec = "{containers: [{name: a, command: [sleep, '9'], ports: [{containerPort: 9}]}]}"
    manifest.write_text(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {spec}")
    command = [AMBIENT, "lab", "up", "--no-mesh", "--manifests", str(manifest)]
    with subprocess.Popen(command, env={**os.environ, "AMBIENT_LAB": layout.name}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("waiting for pod"):
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert traces(layout) == []


def test_an_up_that_was_killed_can_be_taken_down(layout: Layout):
    command = [AMBIENT, "lab", "up", "--no-mesh"]
    with subprocess.Popen(command, env={**os.environ, "AMBIENT_LAB": layout.name}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert api.down(layout)
    assert traces(layout) == []


def test_two_commands_do_not_bring_one_lab_up_at_a_time(layout: Layout):
    results: list[object] = []

    def attempt() -> None:
        try:
            results.append(start(layout, nodes=1))
        except LabError as error:
            results.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(result).__name__ for result in results) == ["Lab", "LabError"]
    assert Lab(layout).status()["pending"] == []


def test_a_node_more(layout: Layout):
    lab = start(layout, nodes=3)
    assert lab.status()["nodes"] == ["node1", "node2", "node3"]
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: far}\nspec: {nodeName: node3, containers: [{name: a, command: [sleep, '1000']}]}"
    lab.apply({"far.yaml": text})
    lab.wait()
    for family in ("http://10.96.0.11/", "http://[fd00:10:96::b]/"):
        assert "answers" in lab.run("far", ["python3", "-m", "lab.sample.get", family]).stdout


def test_secrets_are_roots_alone(layout: Layout):
    start(layout, nodes=1)
    for path, mode in ((layout.root, 0o700), (layout.control_socket, 0o600), (layout.state, 0o600), (layout.controlplane, 0o700)):
        assert path.stat().st_mode & 0o777 == mode


def test_without_root_it_says_so_in_one_line():
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", AMBIENT, "lab", "up"], capture_output=True, text=True, check=False, cwd="/"
    )
    if "Permission denied" in done.stderr and "Traceback" not in done.stderr:
        pytest.skip("nobody may not read this working copy")
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: not root: namespaces, interfaces and rules need it; run the same with sudo"


def test_a_program_that_is_missing_is_named_with_its_package(layout: Layout, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(LabError, match="no program nft: apt-get install nftables"):
        api.up(layout, Options(mesh=False), {})


def test_a_program_of_the_mesh_that_is_killed_is_back_within_a_second(layout: Layout, tmp_path: Path):
    """The supervisor alone, with a program that anyone has."""
    start(layout, nodes=1)
    pid_file = tmp_path / "program.pid"
    code = f"""
import asyncio, os, pathlib
from lab.supervisor import Program, keep_running
program = Program("sleeper", "{layout.node_netns("node1")}", ("sleep", "1000"), {{"PATH": os.environ["PATH"]}},
                  pathlib.Path("{tmp_path}/log"), pathlib.Path("{pid_file}"), 0)
asyncio.run(keep_running(program))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as supervisor:
        first = _next_pid(pid_file, 0, 10)
        assert first in processes_in(frozenset((netns_inode(layout.node_netns("node1")) or 0,)))
        os.kill(first, signal.SIGKILL)
        second = _next_pid(pid_file, first, 1)
        supervisor.kill()
    deadline = time.monotonic() + 5
    while process_id(second) is not None:
        assert time.monotonic() < deadline, "it outlived its supervisor"
        time.sleep(0.01)
    assert "ended with status -9; next start in 0.1 s" in (tmp_path / "log").read_text()


def _next_pid(path: Path, old: int, time_limit_s: float) -> int:
    deadline = time.monotonic() + time_limit_s
    while time.monotonic() < deadline:
        text = path.read_text() if path.exists() else ""
        if text.strip() and int(text) != old:
            return int(text)
        time.sleep(0.01)
    raise AssertionError("not started in time")
