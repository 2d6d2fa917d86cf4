"""Virtual IPs: balanced, in both families, from everywhere, and as the pods behind them come and go."""

import re
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lab import api
from lab.api import Lab
from lab.lifeline import in_netns
from lab.netns import netns_path

GOLDEN = Path(__file__).parents[2] / "golden/lab"
ASK = """
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode().strip())
"""
V4, V6 = "http://10.96.0.11/", "http://[fd00:10:96::b]/"


def ask(lab: Lab, pod: str, url: str, times: int = 1) -> list[str]:
    done = lab.run(pod, ["python3", "-c", ASK, url, str(times)])
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def answering(lines: list[str]) -> Counter[str]:
    return Counter(line.split()[0] for line in lines)


@pytest.mark.parametrize("url", [V4, V6])
def test_connections_are_spread_over_the_pods(lab: Lab, url: str):
    spread = answering(ask(lab, "client", url, 60))
    # Of 60 fair choices between two, fewer than 10 of one have a chance of 1e-7.
    assert set(spread) == {"web-1", "web-2"}
    assert min(spread.values()) >= 10


@pytest.mark.parametrize(("url", "address"), [(V4, "10.244.1.2"), (V6, "fd00:10:244:1::2")])
def test_the_server_sees_the_clients_own_address(lab: Lab, url: str, address: str):
    assert f"answers {address} " in ask(lab, "client", url)[0]


@pytest.mark.parametrize("url", [V4, V6])
def test_a_client_beside_the_backends_and_a_backend_that_gets_itself(lab: Lab, url: str):
    lines = ask(lab, "web-1", url, 40)
    assert set(answering(lines)) == {"web-1", "web-2"}
    # Its own address is that of the node there, or it would answer itself directly.
    own = {line.split()[2] for line in lines if line.startswith("web-1")}
    assert own <= {"10.244.2.1", "fd00:10:244:2::1"}


@pytest.mark.parametrize("url", [V4, V6])
def test_a_node_reaches_services_too(lab: Lab, url: str):
    for node in ("node1", "node2"):
        command = lab.node_command(node, ["python3", "-c", ASK, url, "1"])
        assert "answers" in subprocess.check_output(command, text=True)


def test_pods_leave_and_join_as_their_labels_say(lab: Lab):
    lab.label("pod", "web-1", {"app": "other"})
    assert set(answering(ask(lab, "client", V4, 20))) == {"web-2"}
    lab.label("pod", "web-2", {"app": "other"})
    for family, address in ((socket.AF_INET, "10.96.0.11"), (socket.AF_INET6, "fd00:10:96::b")):
        assert refused(lab, family, address)
    lab.label("pod", "web-1", {"app": "web"})
    lab.label("pod", "web-2", {"app": "web"})
    assert set(answering(ask(lab, "client", V6, 40))) == {"web-1", "web-2"}


def refused(lab: Lab, family: int, address: str) -> bool:
    code = f"import socket; s = socket.socket({int(family)}); s.settimeout(5); print(s.connect_ex(('{address}', 80)))"
    return lab.run("client", ["python3", "-c", code]).stdout.strip() == "111"


def test_a_port_that_the_service_does_not_have_is_refused(lab: Lab):
    done = lab.run(
        "client", ["python3", "-c", "import socket; s = socket.socket(); s.settimeout(5); print(s.connect_ex(('10.96.0.11', 81)))"]
    )
    assert done.stdout.strip() == "111"


def test_connections_outlive_a_change_of_rules(lab: Lab):
    code = """
import http.client, sys
c = http.client.HTTPConnection("web")
for line in sys.stdin:
    c.request("GET", "/" + line.strip())
    print(c.getresponse().read().decode().strip(), flush=True)
"""
    with lab.start("client", ["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def request(word: bytes) -> bytes:
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            return process.stdout.readline()

        first = request(b"one")
        server = first.split()[0].decode()
        lab.label("pod", server, {"app": "other"})
        assert request(b"two").split()[0].decode() == server
        lab.label("pod", server, {"app": "web"})
        process.stdin.close()


def test_pods_that_come_and_go_do_not_change_the_gateway_of_others(lab: Lab):
    def gateway() -> str:
        show = lab.node_command("node1", ["ip", "-brief", "link", "show", "cni0"])
        return subprocess.check_output(show, text=True).split()[2]

    before = gateway()
    for number in range(3):
        spec = f"{{nodeName: node1, terminationGracePeriodSeconds: {number}, containers: [{{name: a, command: [sleep, '1000']}}]}}"
        manifest = {"a.yaml": f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {spec}"}
        lab.apply(manifest)
        assert gateway() == before
    lab.delete(manifest)
    assert gateway() == before


def test_session_affinity_keeps_a_client_at_one_pod(lab: Lab):
    service = """
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: http}]}
"""
    lab.apply({"sticky.yaml": service})
    assert len(answering(ask(lab, "client", "http://sticky/", 20))) == 1
    lab.delete({"sticky.yaml": service})


def test_udp(lab: Lab):
    text = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 53, targetPort: 5353, protocol: UDP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    command: [python3, -c]
    args:
    - |
      import socket
      s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
      s.bind(("::", 5353))
      while True:
          s.sendto(*s.recvfrom(99))
"""
    lab.apply({"echo.yaml": text})
    lab.wait()
    code = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.connect((socket.gethostbyname("echo"), 53))
for _ in range(10):
    try:
        s.send(b"hello"); print(s.recv(99).decode()); break
    except OSError: pass
"""
    assert lab.run("client", ["python3", "-c", code]).stdout == "hello\n"
    lab.delete({"echo.yaml": text})


@pytest.mark.parametrize("name", ["services.nft", "no-services.nft"])
def test_the_kernel_takes_the_golden_rules_and_replaces_them(lab: Lab, name: str):
    enter = in_netns(netns_path(lab.layout.controlplane_netns))
    try:
        for _ in range(2):
            subprocess.run([*enter, "nft", "--file", str(GOLDEN / name)], check=True)
        listed = subprocess.check_output([*enter, "nft", "list", "ruleset"], text=True)
        assert len(re.findall(r"^table", listed, flags=re.MULTILINE)) == 1
    finally:
        subprocess.run([*enter, "nft", "flush", "ruleset"], check=True)


def test_names_of_every_length(lab: Lab):
    for name in ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local"):
        assert "answers" in ask(lab, "client", f"http://{name}/")[0]


def test_a_bare_name_means_the_pods_own_namespace(lab: Lab):
    text = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: buyer, namespace: shop}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, command: [sleep, infinity]}]}
"""
    lab.apply({"shop.yaml": text})
    lab.wait()
    assert lab.run("shop/buyer", ["getent", "hosts", "web"]).returncode != 0
    assert "answers" in ask(lab, "shop/buyer", "http://web.default/")[0]
    lab.delete({"shop.yaml": text})
    assert api.Lab(lab.layout).status()["pending"] == []
