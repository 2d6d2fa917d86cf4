"""Pods: what runs in them, what they see, and what becomes of them when they crash, change or go."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.api import Lab
from lab.errors import LabError
from lab.netns import netns_inode
from lab.processes import process_id, processes_in
from mesh.errors import MeshError

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, command: [sh, -c, 'COMMAND']}] MORE}
"""


def pod(name: str, command: str, more: str = "") -> dict[str, str]:
    return {f"{name}.yaml": POD.replace("NAME", name).replace("COMMAND", command).replace("MORE", more)}


def described(lab: Lab, name: str) -> dict[str, Any]:
    return next((one for one in lab.status()["pods"] if one["name"] == name), {})


def runner_of(lab: Lab, name: str) -> int | None:
    """None while the pod's old runner has ended and there is no new one."""
    try:
        return lab.pod(name).pid
    except LabError:
        return None


def until(holds: Callable[[], bool], time_limit_s: float = 10) -> None:
    deadline = time.monotonic() + time_limit_s
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


def test_a_pod_has_its_own_name_network_and_hosts(lab: Lab):
    done = lab.run("client", ["sh", "-c", "hostname; ip -brief address show eth0; grep web.default /etc/hosts; pwd; echo $HOME"])
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "client"
    assert "10.244.1.2/32" in lines[1]
    assert "fd00:10:244:1::2/128" in lines[1]
    assert lines[2].split() == ["10.96.0.11", "web.default.svc.cluster.local", "web.default.svc", "web.default", "web"]
    assert lines[-2:] == ["/", "/root"]


def test_the_machines_own_hosts_file_is_untouched(lab: Lab):
    assert "web.default" not in Path("/etc/hosts").read_text()


def test_a_name_that_nobody_has_is_refused_at_once(lab: Lab):
    started = time.monotonic()
    assert lab.run("client", ["getent", "hosts", "nobody.example"]).returncode == 2
    assert time.monotonic() - started < 4


def test_pods_reach_each_other_by_name_in_both_families(lab: Lab):
    for url in ("http://web-1:8080/", "http://web-2.default:8080/", "http://10.244.2.2:8080/", "http://[fd00:10:244:2::2]:8080/"):
        assert "answers" in lab.run("client", ["python3", "-m", "lab.sample.get", url]).stdout


def test_neighbours_reach_each_other(lab: Lab):
    assert "web-2 answers" in lab.run("web-1", ["python3", "-m", "lab.sample.get", "http://web-2:8080/"]).stdout


def test_exec_gives_back_the_commands_status_and_output(lab: Lab):
    done = lab.run("client", ["sh", "-c", "cat; echo bad >&2; exit 7"], input="in")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in", "bad\n")


def test_exec_in_a_pod_that_is_not_there_says_which_are(lab: Lab):
    with pytest.raises(LabError, match="default/client, default/web-1, default/web-2"):
        lab.run("nobody", ["true"])


def test_a_pod_added_later_is_named_everywhere_and_one_that_goes_is_not(lab: Lab):
    lab.apply(pod("later", "exec sleep 1000"))
    lab.wait()
    address = described(lab, "later")["ips"][0]
    assert lab.run("client", ["getent", "hosts", "later"]).returncode == 0
    assert address in lab.run("web-1", ["cat", "/etc/hosts"]).stdout
    lab.delete(pod("later", ""))
    assert described(lab, "later") == {}
    assert "later" not in lab.run("client", ["cat", "/etc/hosts"]).stdout


def test_a_pod_is_ready_when_it_listens_and_not_before(lab: Lab, tmp_path: Path):
    flag = tmp_path / "go"
    text = pod("slow", f"until [ -e {flag} ]; do sleep 0.05; done; exec python3 -m lab.sample.web 80")["slow.yaml"]
    lab.apply({"slow.yaml": text.replace("name: main,", "name: main, ports: [{containerPort: 80}],")})
    try:
        until(lambda: described(lab, "slow")["phase"] == "Running")
        assert not described(lab, "slow")["ready"]
        with pytest.raises(LabError, match=r"pod default/slow: not ready, Running(.|\n)*slow.log"):
            lab.wait(0.3)
        flag.touch()
        lab.wait()
        assert described(lab, "slow")["ready"]
    finally:
        lab.delete({"slow.yaml": text})


def test_a_container_that_ends_is_started_again_later_and_later(lab: Lab):
    lab.apply(pod("crash", "echo started; exit 3"))
    log = lab.layout.pod_log("default", "crash")
    until(lambda: log.exists() and log.read_text().count("started") >= 3)
    assert "main ended with status 3; next start in 0.5 s" in log.read_text()
    assert "next start in 1 s" in log.read_text()
    assert described(lab, "crash")["restarts"] >= 1
    lab.delete(pod("crash", ""))


@pytest.mark.parametrize(("command", "phase"), [("exit 0", "Succeeded"), ("exit 1", "Failed")])
def test_a_pod_that_shall_not_restart_is_done(lab: Lab, command: str, phase: str):
    manifest = pod("once", command, ", restartPolicy: Never")
    lab.apply(manifest)
    lab.wait()
    assert described(lab, "once")["phase"] == phase
    lab.delete(manifest)


def test_a_command_that_is_not_there_is_named_in_the_log(lab: Lab):
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: none}\nspec: {containers: [{name: main, command: [no-such-program]}]}"
    lab.apply({"none.yaml": text})
    log = lab.layout.pod_log("default", "none")
    until(lambda: log.exists() and "no-such-program" in log.read_text())
    lab.delete({"none.yaml": text})


def test_several_containers_share_the_pod(lab: Lab):
    text = """
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: serve, command: [python3, -m, lab.sample.web, "8000"], ports: [{containerPort: 8000}]}
  - {name: other, command: [sleep, infinity], env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}
"""
    lab.apply({"two.yaml": text})
    lab.wait()
    assert "two answers 127.0.0.1" in lab.run("two", ["python3", "-m", "lab.sample.get", "http://127.0.0.1:8000/"]).stdout
    lab.delete({"two.yaml": text})


def test_a_pod_whose_runner_is_killed_comes_back_and_leaves_no_process(lab: Lab):
    lab.apply(pod("victim", "sleep 1000 & exec sleep 1000"))
    lab.wait()
    before = lab.pod("victim")
    inode = netns_inode(before.netns)
    assert inode is not None
    until(lambda: len(processes_in(frozenset((inode,)))) == 3)
    old = {process_id(pid) for pid in processes_in(frozenset((inode,)))}
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: runner_of(lab, "victim") not in (None, before.pid))
    lab.wait()
    assert not any(one is not None and process_id(one.pid) == one for one in old)
    lab.delete(pod("victim", ""))


def test_a_changed_pod_is_replaced(lab: Lab):
    lab.apply(pod("changing", "exec sleep 1000"))
    lab.wait()
    before = described(lab, "changing")["uid"]
    lab.apply(pod("changing", "exec sleep 2000"))
    lab.wait()
    assert described(lab, "changing")["uid"] != before
    assert b"2000" in subprocess.check_output(["ps", "-o", "args=", "--ppid", str(lab.pod("changing").pid)])
    lab.delete(pod("changing", ""))


def test_a_changed_label_does_not_touch_the_pod(lab: Lab):
    before = lab.pod("web-1").pid, described(lab, "web-1")["uid"]
    lab.label("pod", "web-1", {"tier": "x"})
    assert (lab.pod("web-1").pid, described(lab, "web-1")["uid"]) == before
    assert "tier: x" in (lab.layout.manifests / "default.yaml").read_text()
    lab.label("pod", "web-1", {"tier": None})
    assert "tier" not in (lab.layout.manifests / "default.yaml").read_text()


def test_a_pod_gets_its_time_to_end(lab: Lab, tmp_path: Path):
    flag = tmp_path / "ended"
    manifest = pod("polite", f'trap "sleep 0.2; touch {flag}; exit 0" TERM; while :; do sleep 0.05; done')
    manifest = {name: text.replace("PeriodSeconds: 1", "PeriodSeconds: 10") for name, text in manifest.items()}
    lab.apply(manifest)
    lab.wait()
    lab.delete(manifest)
    assert flag.exists()


def test_a_pod_that_does_not_listen_to_reason_is_killed(lab: Lab):
    manifest = pod("stubborn", 'trap "" TERM; while :; do sleep 0.05; done')
    lab.apply(manifest)
    lab.wait()
    started = time.monotonic()
    lab.delete(manifest)
    assert 0.9 < time.monotonic() - started < 5
    assert described(lab, "stubborn") == {}


def test_a_pod_on_the_nodes_network(lab: Lab):
    manifest = pod("host", "exec sleep 1000", ", hostNetwork: true, nodeName: node2")
    lab.apply(manifest)
    lab.wait()
    assert described(lab, "host")["ips"] == ["172.30.0.12", "fd00:172:30::12"]
    assert "172.30.0.12" in lab.run("host", ["ip", "-brief", "address", "show", "eth0"]).stdout
    links = list(lab.layout.pod_links("node2").iterdir())
    assert described(lab, "host")["uid"] not in [link.name for link in links]
    lab.delete(manifest)
    assert "answers" in lab.run("client", ["python3", "-m", "lab.sample.get", "http://web/"]).stdout


def test_manifests_that_are_wrong_change_nothing(lab: Lab):
    before = lab.status()
    with pytest.raises(MeshError, match=r"bad.yaml:2:spec.containers"):
        lab.apply({"bad.yaml": pod("x", "true")["x.yaml"] + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: y}\nspec: {containers: 3}"})
    assert lab.status() == before


def test_the_agents_find_each_pods_namespace_by_its_uid(lab: Lab):
    one = described(lab, "web-1")
    link = lab.layout.pod_links(one["node"]) / one["uid"]
    assert link.stat().st_ino == netns_inode(lab.layout.pod_netns("default", "web-1"))
