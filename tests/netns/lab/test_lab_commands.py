"""The command line against a lab that is up."""

import json
import os
import subprocess
import sys
from pathlib import Path

from lab.api import Lab

AMBIENT = str(Path(sys.executable).parent / "ambient")


def ambient(lab: Lab, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "AMBIENT_LAB": lab.layout.name}
    return subprocess.run([AMBIENT, "lab", *arguments], env=env, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def test_exec_passes_input_output_and_status_through(lab: Lab):
    done = ambient(lab, "exec", "client", "--", "sh", "-c", "cat; hostname; echo err >&2; exit 5", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (5, "in\nclient\n", "err\n")


def test_exec_takes_options_of_the_command_as_such(lab: Lab):
    assert ambient(lab, "exec", "default/client", "ls", "-d", "--", "/etc").stdout == "/etc\n"


def test_status_for_programs_is_that_of_the_api(lab: Lab):
    assert json.loads(ambient(lab, "status", "--json").stdout) == lab.status()


def test_status_for_people_names_everything(lab: Lab):
    out = ambient(lab, "status").stdout
    for word in ("node2", "web-2", "10.244.1.2", "fd00:10:96::b", "spiffe://cluster.local/ns/default/sa/client"):
        assert word in out


def test_apply_from_a_directory_label_logs_and_delete(lab: Lab, tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: talker}\n"
        "spec: {terminationGracePeriodSeconds: 1, containers: [{name: a, command: [sh, -c, 'echo hello; exec sleep 1000']}]}"
    )
    (tmp_path / "notes.txt").write_text("not a manifest: {")
    assert ambient(lab, "apply", "-f", str(tmp_path)).returncode == 0
    assert ambient(lab, "logs", "talker").stdout == "hello\n"
    assert ambient(lab, "label", "pod", "talker", "a=b", "c-").stdout == "pod/talker labelled\n"
    assert "a: b" in (lab.layout.manifests / "default.yaml").read_text()
    assert ambient(lab, "delete", "-f", "-", stdin=(tmp_path / "a.yaml").read_text()).returncode == 0
    assert "talker" not in ambient(lab, "status").stdout


def test_a_log_is_followed(lab: Lab):
    env = {**os.environ, "AMBIENT_LAB": lab.layout.name}
    with subprocess.Popen([AMBIENT, "lab", "logs", "-f", "web-1"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert lab.run("client", ["python3", "-m", "lab.sample.get", "http://web-1:8080/followed"]).returncode == 0
        assert any("/followed" in line for line in iter(process.stdout.readline, ""))
        process.terminate()


def test_a_wrong_manifest_is_one_message(lab: Lab, tmp_path: Path):
    (tmp_path / "bad.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: moon, containers: [{name: a, command: [b]}]}"
    )
    done = ambient(lab, "apply", "-f", str(tmp_path / "bad.yaml"))
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path}/bad.yaml:1:spec.nodeName: 'moon': expected one of node1, node2\n"


def test_apply_says_what_it_took_and_what_is_not_done_as_written(lab: Lab):
    policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: typo}, spec: {action: DENY, ruels: []}}"
    done = ambient(lab, "apply", "-f", "-", stdin=policy)
    assert (done.returncode, done.stdout) == (0, "authorizationpolicy/typo applied\n")
    assert done.stderr.startswith("Warning: authorizationpolicy/typo: not as it is written: spec.ruels: no such field; ")
    assert ambient(lab, "delete", "ap", "typo").returncode == 0


def test_apply_of_nothing_is_an_error(lab: Lab):
    done = ambient(lab, "apply", "-f", "-", stdin="# nothing\n")
    assert (done.returncode, done.stderr) == (1, "Error: standard input: no object in it\n")


def test_a_lab_without_the_mesh_has_no_root_to_rotate(lab: Lab):
    done = ambient(lab, "rotate-root")
    assert (done.returncode, done.stderr) == (1, "Error: the mesh has no program controlplane; there are: none, the lab has no mesh\n")


def test_up_twice_says_so(lab: Lab):
    done = ambient(lab, "up", "--no-mesh")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: the lab {lab.layout.name} is up already")


SPEC = "{terminationGracePeriodSeconds: 1, containers: [{name: a, command: [sleep, '1000']}]}"
POD = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: brief}}\nspec: {SPEC}"


def test_delete_by_kind_and_name(lab: Lab):
    assert ambient(lab, "apply", "-f", "-", stdin=POD).returncode == 0
    done = ambient(lab, "delete", "pods", "brief")
    assert (done.stdout, done.stderr) == ("pods/brief deleted\n", "")
    assert "brief" not in ambient(lab, "status").stdout
    again = ambient(lab, "delete", "pods", "brief")
    assert again.returncode == 1
    assert again.stderr.startswith("Error: pod: 'default/brief': expected one of default/client")


def test_a_node_is_labelled_and_its_labels_stand_in_the_manifests(lab: Lab):
    assert ambient(lab, "label", "node", "node1", "topology.kubernetes.io/zone=a").returncode == 0
    assert "topology.kubernetes.io/zone: a" in (lab.layout.manifests / "CLUSTER.yaml").read_text()
    assert ambient(lab, "label", "node", "node1", "topology.kubernetes.io/zone-").returncode == 0


def test_programs_that_a_lab_without_a_mesh_does_not_have(lab: Lab):
    done = ambient(lab, "stop", "ztunnel")
    assert done.returncode == 1
    assert done.stderr == "Error: the mesh has no program ztunnel; there are: none, the lab has no mesh\n"
