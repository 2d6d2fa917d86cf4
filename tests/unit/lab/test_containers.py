import json

from lab.containers import ContainerRun, PodRun, pod_run
from lab.pod_runner import read_pod_run, write_pod_run

POD = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "nodeName": "node1",
        "terminationGracePeriodSeconds": 3,
        "containers": [
            {
                "name": "main",
                "command": ["serve", "$(GREETING)", "$$(GREETING)", "$(MISSING)"],
                "args": ["--ip", "$(POD_IP)"],
                "workingDir": "/tmp",
                "env": [
                    {"name": "GREETING", "value": "hello $(HOSTNAME)"},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
            }
        ],
    },
    "status": {"podIP": "10.244.1.2"},
}


def run() -> PodRun:
    return pod_run(POD, netns="/run/netns/x", hosts="/h", log="/l", path="/bin")


def test_a_container_runs_what_its_manifest_says():
    (container,) = run().containers
    assert container.argv == ("serve", "hello web", "$(GREETING)", "$(MISSING)", "--ip", "10.244.1.2")
    assert container.env == {
        "PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8", "HOSTNAME": "web", "GREETING": "hello web", "POD_IP": "10.244.1.2",
    }  # fmt: skip
    assert (container.directory, container.tcp_ports) == ("/tmp", (80,))
    assert (run().grace_s, run().restart_policy) == (3.0, "Always")


def test_a_container_does_not_see_the_labs_own_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    assert "SECRET" not in run().containers[0].env


def test_the_runner_reads_what_the_lab_writes():
    assert read_pod_run(write_pod_run(run())) == run()
    assert isinstance(read_pod_run(json.dumps(json.loads(write_pod_run(run())))).containers[0], ContainerRun)
