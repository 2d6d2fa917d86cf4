"""The demonstration: what one label changes, checked on the nodes' network and in the proxies' logs."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab.api import Lab
from lab.errors import LabError
from lab.tap import Segment, Tap
from mesh.enrolment import AMBIENT, MODE_LABEL

# Where the sample manifests put the client.
CLIENT, CLIENT_NODE, SERVER_NODE = "client", "node1", "node2"
CLIENT_IDENTITY = "spiffe://cluster.local/ns/default/sa/client"
SERVER_IDENTITY = "spiffe://cluster.local/ns/default/sa/web"
# Source: HBONE.
_HBONE_PORT = 15008
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
    """A request with a marker, what it was answered, and what passed on the nodes' network meanwhile."""

    marker: str
    answer: str
    segments: tuple[Segment, ...]

    @property
    def answered(self) -> bool:
        return self.answer.startswith("web-") and self.marker in self.answer

    @property
    def marker_seen(self) -> bool:
        return any(self.marker.encode() in segment.payload for segment in self.segments)

    @property
    def tls_seen(self) -> bool:
        hbone = [one for one in self.segments if _HBONE_PORT in (one.source_port, one.destination_port)]
        return any(segment.starts_tls_record() for segment in hbone)


def run_demo(lab: Lab, narrator: Narrator) -> bool:
    """Tells and checks the whole story in a lab of the sample manifests; returns whether everything was so.

    Raises:
        LabError: a pod does not get into the mesh, or out of it.
    """
    with Tap(lab.layout.node_netns(CLIENT_NODE), "eth0") as tap:
        narrator.step("Without the mesh: the client asks the service `web`, and we read along on the network between the nodes")
        _plaintext(narrator, _exchange(lab, tap, narrator))
        narrator.step(f"One label: namespace default {MODE_LABEL}={AMBIENT}; no pod is restarted")
        restarts = _restarts(lab)
        lab.label("namespace", "default", {MODE_LABEL: AMBIENT})
        lab.wait(_ENROLMENT_TIME_LIMIT_S)
        narrator.claim("the agents have captured all pods, and verified it", _all_captured(lab))
        narrator.claim("no pod was restarted", _restarts(lab) == restarts)
        _encrypted(narrator, lab, tap)
        narrator.step("The label is taken away")
        lab.label("namespace", "default", {MODE_LABEL: None})
        lab.wait(_ENROLMENT_TIME_LIMIT_S)
        _plaintext(narrator, _exchange(lab, tap, narrator))
    return not narrator.failed


def _plaintext(narrator: Narrator, exchange: _Exchange) -> None:
    narrator.claim("the answer came", exchange.answered)
    narrator.claim("the marker was readable on the nodes' network", exchange.marker_seen)


def _encrypted(narrator: Narrator, lab: Lab, tap: Tap) -> None:
    logs = [lab.layout.process_log("ztunnel", node) for node in (CLIENT_NODE, SERVER_NODE)]
    ends = [log.stat().st_size for log in logs]
    exchange = _exchange(lab, tap, narrator)
    narrator.claim("the answer came", exchange.answered)
    narrator.claim("the marker was not readable on the nodes' network", not exchange.marker_seen)
    narrator.claim(f"TLS passed there instead, on port {_HBONE_PORT}", exchange.tls_seen)
    for node, log, end in zip((CLIENT_NODE, SERVER_NODE), logs, ends, strict=True):
        line = _line_with_identities(log, end)
        narrator.claim(f"the ztunnel of {node} logged the connection with both identities", line is not None)
        narrator.show(line or "")


def _exchange(lab: Lab, tap: Tap, narrator: Narrator) -> _Exchange:
    marker = f"marker-{secrets.token_hex(8)}"
    tap.take()
    done = lab.run(CLIENT, ["python3", "-m", "lab.sample.get", f"http://web/{marker}"])
    answer = (done.stdout or done.stderr).strip()
    narrator.show(f"http://web/{marker}: {answer}")
    return _Exchange(marker, answer, tap.take())


def _line_with_identities(log: Path, start: int) -> str | None:
    """Waits for a line behind `start` that names both ends."""
    deadline = time.monotonic() + _LOG_TIME_LIMIT_S
    while time.monotonic() < deadline:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
        for line in lines:
            if CLIENT_IDENTITY in line and SERVER_IDENTITY in line:
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
    names = [lab.layout.process_log(program, node) for node in (CLIENT_NODE, SERVER_NODE) for program in ("agent", "ztunnel")]
    return "\n".join(str(LabError(name.parent.name, name)) for name in names)
