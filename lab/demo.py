"""The demonstration: what one label changes, checked on the nodes' network and in the proxies' logs."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.api import Lab
from lab.errors import LabError
from lab.tap import Segment, Tap
from mesh.enrolment import AMBIENT, MODE_LABEL

CLIENT = "client"
CLIENT_IDENTITY = "spiffe://cluster.local/ns/default/sa/client"
SERVER_IDENTITY = "spiffe://cluster.local/ns/default/sa/web"
# Source: HBONE.
_HBONE_PORT = 15008
# The service takes either of two pods, and one of them is on the client's own node: that often in a row it is one in 10^9.
_MAX_ATTEMPTS = 30
# Enrolment is to take a second; a busy machine gets more.
_ENROLMENT_TIME_LIMIT_S = 20.0
_LOG_TIME_LIMIT_S = 5.0
_LOG_POLL_S = 0.05


@dataclass(slots=True)
class Narrator:
    """Tells the story. `step` and `show` print; `claim` prints and remembers whether it held."""

    step: Callable[[str], None]
    show: Callable[[str], None]
    verdict: Callable[[str, bool], None]
    failed: list[str] = field(default_factory=list)

    def claim(self, text: str, held: bool) -> None:
        self.verdict(text, held)
        if not held:
            self.failed.append(text)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request with a marker, what it was answered, and what passed on the nodes' network meanwhile.

    Args:
        server, server_node: the pod that answered, and its node; "" for none.
    """

    marker: str
    answer: str
    server: str
    server_node: str
    segments: tuple[Segment, ...]

    @property
    def answered(self) -> bool:
        return bool(self.server_node) and self.marker in self.answer

    @property
    def marker_seen(self) -> bool:
        return any(self.marker.encode() in segment.payload for segment in self.segments)

    @property
    def tls_seen(self) -> bool:
        hbone = [one for one in self.segments if _HBONE_PORT in (one.source_port, one.destination_port)]
        return any(segment.starts_tls_record() for segment in hbone)


@dataclass(frozen=True, slots=True)
class _Client:
    """The client pod, with the tap on its node; `nodes` by pod."""

    lab: Lab
    narrator: Narrator
    tap: Tap
    nodes: Mapping[str, str]

    def exchange(self) -> _Exchange:
        """Asks the service until a pod of another node answers, or nobody does."""
        exchange = self._request()
        for _ in range(_MAX_ATTEMPTS):
            if exchange.server_node != self.nodes[CLIENT]:
                break
            self.narrator.show("from the client's own node, so that nothing passed between the nodes; again")
            exchange = self._request()
        return exchange

    def _request(self) -> _Exchange:
        marker = f"marker-{secrets.token_hex(8)}"
        self.tap.take()
        done = self.lab.run(CLIENT, ["python3", "-m", "lab.sample.get", f"http://web/{marker}"])
        answer = (done.stdout or done.stderr).strip()
        self.narrator.show(f"http://web/{marker}: {answer}")
        server = answer.partition(" ")[0] if done.returncode == 0 else ""
        return _Exchange(marker, answer, server, self.nodes.get(server, ""), self.tap.take())


def run_demo(lab: Lab, narrator: Narrator) -> bool:
    """Tells and checks the whole story in a lab of the sample manifests; returns whether everything was so.

    Raises:
        LabError: a pod does not get into the mesh, or out of it.
    """
    nodes = {pod["name"]: pod["node"] for pod in lab.status()["pods"]}
    with Tap(lab.layout.node_netns(nodes[CLIENT]), "eth0") as tap:
        client = _Client(lab, narrator, tap, nodes)
        narrator.step("Without the mesh: the client asks the service `web`, and we read along on the network between the nodes")
        _plaintext(narrator, client.exchange())
        narrator.step(f"One label: namespace default {MODE_LABEL}={AMBIENT}; no pod is restarted")
        restarts = _restarts(lab)
        lab.label("namespace", "default", {MODE_LABEL: AMBIENT})
        lab.wait(_ENROLMENT_TIME_LIMIT_S)
        narrator.claim("the agents have captured all pods, and verified it", _all_captured(lab))
        narrator.claim("no pod was restarted", _restarts(lab) == restarts)
        _encrypted(narrator, client)
        narrator.step("The label is taken away")
        lab.label("namespace", "default", {MODE_LABEL: None})
        lab.wait(_ENROLMENT_TIME_LIMIT_S)
        _plaintext(narrator, client.exchange())
    return not narrator.failed


def _plaintext(narrator: Narrator, exchange: _Exchange) -> None:
    narrator.claim("the answer came", exchange.answered)
    narrator.claim("the marker was readable on the nodes' network", exchange.marker_seen)


def _encrypted(narrator: Narrator, client: _Client) -> None:
    logs = {node: client.lab.layout.process_log("ztunnel", node) for node in client.nodes.values()}
    ends = {node: log.stat().st_size for node, log in logs.items()}
    exchange = client.exchange()
    narrator.claim("the answer came", exchange.answered)
    narrator.claim("the marker was not readable on the nodes' network", not exchange.marker_seen)
    narrator.claim(f"TLS passed there instead, on port {_HBONE_PORT}", exchange.tls_seen)
    for node in (client.nodes[CLIENT], exchange.server_node):
        line = _line_with(logs[node], ends[node], (CLIENT_IDENTITY, SERVER_IDENTITY, exchange.server)) if node else None
        narrator.claim(f"the ztunnel of {node} logged the connection with both identities", line is not None)
        narrator.show(line or "")


def _line_with(log: Path, start: int, words: tuple[str, ...]) -> str | None:
    """Waits for a line behind `start` that has all the words."""
    deadline = time.monotonic() + _LOG_TIME_LIMIT_S
    while time.monotonic() < deadline:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
        for line in lines:
            if all(word in line for word in words):
                return line
        time.sleep(_LOG_POLL_S)
    return None


def _all_captured(lab: Lab) -> bool:
    return all(pod["mesh"] == "captured" for pod in lab.status()["pods"])


def _restarts(lab: Lab) -> dict[str, tuple[int, int]]:
    """By pod: how often its containers were restarted, and the process that they run under."""
    return {pod["name"]: (pod["restarts"], lab.pod(pod["name"]).pid) for pod in lab.status()["pods"]}


def tail_of_failure(lab: Lab) -> str:
    """The ends of the logs that tell most when the demonstration failed."""
    logs = [lab.layout.process_log(program, node) for node in lab.status()["nodes"] for program in ("agent", "ztunnel")]
    return "\n".join(str(LabError(log.parent.name, log)) for log in logs)
