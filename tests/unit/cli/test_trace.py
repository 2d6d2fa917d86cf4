"""`ambient trace` without a kernel: which pods, what is shown, what goes wrong."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.trace import command, trace
from cli.trace.display import LineDisplay, TableDisplay
from cli.trace.lines import describe, line_of
from cli.trace.pods import RunningPod, choose, find_running, running_pods, watch_of
from cli.trace.session import Batch, Session
from cli.trace.table import table_of
from cli.trace.words import Words
from ebpf.observe.connection import Connection
from ebpf.observe.events import Event, Kind, socket_address
from ebpf.observe.observer import Lost, Observer
from ebpf.observe.requirements import ObservationUnavailable
from ebpf.observe.verdict import Verdict
from ebpf.observe.watched import Watched
from lab.layout import Layout
from mesh.errors import ConfigError, ConfigErrors
from mesh.manifests import parse_manifests

CLIENT, SERVER = socket_address("10.0.0.1", 40000), socket_address("10.0.0.2", 80)
WEB = RunningPod("shop/web", Path("/gone"), 1, (CLIENT.ip,))
API = RunningPod("shop/api", Path("/gone"), 2, (SERVER.ip,))
OTHER_WEB = RunningPod("bank/web", Path("/gone"), 3, ())
WORDS = Words({1: "shop/web", 2: "shop/api"}, {12: "NETFILTER_DROP"}, {4: "TCP_STATE"}, wall_clock_ns=0)
OPEN = Connection(1, CLIENT, SERVER, opened_ns=10**9, changed_ns=10**9, state="ESTABLISHED", rtt_us=35, agreed_ns=10**9)
OPENED = Event(10**9, Kind.STATE, 1, CLIENT, SERVER, socket=0xA, rtt_us=35, old_state="SYN_SENT", new_state="ESTABLISHED")
DROPPED = replace(OPENED, kind=Kind.DROP, socket=0, reason=12)

MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: web-uid}
spec: {containers: [{name: main}]}
status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pending, namespace: shop, uid: pending-uid}
spec: {containers: [{name: main}]}
"""


def test_running_pods_are_those_with_a_namespace(tmp_path: Path) -> None:
    netns = tmp_path / "netns"
    netns.touch()
    [pod] = find_running(parse_manifests({"a.yaml": MANIFESTS}), {"web-uid": netns, "unknown-uid": netns})
    assert (pod.name, pod.inode, list(map(str, pod.addresses))) == ("shop/web", netns.stat().st_ino, ["10.0.0.1", "fd00::1"])


def test_pod_whose_namespace_has_just_gone(tmp_path: Path) -> None:
    assert find_running(parse_manifests({"a.yaml": MANIFESTS}), {"web-uid": tmp_path / "gone"}) == []


def test_no_lab() -> None:
    with pytest.raises(ConfigError, match="expected a running lab; start one with `ambient lab up`"):
        running_pods(Layout("nosuchlab"))


@pytest.mark.parametrize(
    ("wanted", "found"), [(None, [WEB, API, OTHER_WEB]), ("shop/web", [WEB]), ("api", [API]), ("bank/web", [OTHER_WEB])]
)
def test_choice_of_pods(wanted: str | None, found: list[RunningPod]) -> None:
    assert choose([WEB, API, OTHER_WEB], wanted) == found


@pytest.mark.parametrize(
    ("pods", "wanted", "expected"),
    [
        ([WEB, API, OTHER_WEB], "web", "one of: shop/web, bank/web"),
        ([WEB, API], "we", "a running pod: shop/web, shop/api"),
        ([], "web", "a running pod: none is running"),
    ],
)
def test_choice_that_is_none(pods: list[RunningPod], wanted: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose(pods, wanted)
    assert error.value.expected == expected


def test_what_is_watched() -> None:
    watched = watch_of([WEB, API], [1, 2, 3, 7])
    assert watched == Watched({1: "shop/web", 2: "shop/api"}, {CLIENT.ip: 1, SERVER.ip: 2}, frozenset({3, 7}))


class FakeObserver:
    """Tells what it is given, and remembers what it was to watch."""

    def __init__(self, *told: list[Event | Lost]) -> None:
        self.told = list(told)
        self.watched: list[list[int]] = []

    def watch(self, watched: Watched) -> list[Event | Lost]:
        self.watched.append(sorted(watched.pods))
        return []

    def read(self, timeout_s: float) -> list[Event | Lost]:
        return self.told.pop(0) if self.told else []


def session_of(observer: FakeObserver, find_pods: Callable[[], list[RunningPod]]) -> Session:
    return Session(cast(Observer, observer), lambda: (find_pods(), frozenset()))


def test_session_follows_connections() -> None:
    session = session_of(FakeObserver([OPENED, DROPPED], [Lost(3)]), lambda: [WEB])
    first, second = session.next(0), session.next(0)
    assert [event.kind for _, event in first.events] == [Kind.STATE, Kind.DROP]
    [(connection, _)] = first.judged.values()
    assert (connection.state, connection.drops) == ("ESTABLISHED", {(12, False): 1})
    assert (first.lost, second.lost, list(second.events)) == (0, 3, [])


def test_session_leaves_out_what_is_not_watched() -> None:
    assert session_of(FakeObserver([replace(OPENED, netns=9)]), lambda: [WEB]).next(0).judged == {}


def test_session_asks_for_pods_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.trace.session.RESCAN_S", 0)
    observer = FakeObserver([OPENED])
    pods = iter([[WEB], [WEB], [WEB, API], [API]])
    session = session_of(observer, lambda: next(pods))
    batches = [session.next(0) for _ in range(4)]
    assert observer.watched == [[1], [1, 2], [2]]
    assert [len(batch.judged) for batch in batches] == [1, 1, 1, 0]


def test_session_goes_on_when_manifests_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.trace.session.RESCAN_S", 0)
    pods = [[WEB]]

    def find() -> list[RunningPod]:
        if not pods:
            raise ConfigErrors((ConfigError("a.yaml", "x", "y"),))
        return pods.pop()

    session = session_of(FakeObserver([], [OPENED]), find)
    session.next(0)
    assert len(session.next(0).judged) == 1


def test_table_lines_up() -> None:
    dropped = replace(OPEN, drops={(12, False): 3, (99, True): 1}, retransmits=4, resets_sent=1, resets_received=2)
    refused = Connection(2, SERVER, CLIENT, opened_ns=0, changed_ns=0)
    console = Console(file=io.StringIO(), width=160)
    console.print(table_of([(dropped, Verdict.CAPTURED), (refused, Verdict.UNDECIDED)], WORDS, rows=10, lost=0))
    lines = [line.rstrip() for line in cast(io.StringIO, console.file).getvalue().splitlines()]
    assert [line.split("10.0.0.", 1)[0].rstrip() for line in lines[1:]] == ["shop/api", "shop/web"]
    for column, cell in zip(
        ("LOCAL", "REMOTE", "STATE", "RESETS", "DROPS", "CAPTURED"),
        (str(CLIENT), str(SERVER), "ESTABLISHED", "sent 1, received 2", "NETFILTER_DROP 3, 99 1 outside the pod", "yes"),
        strict=True,
    ):
        assert lines[0].index(column) == lines[2].index(cell), column
    for column, cell in (("RTT ms", "0.035"), ("RETRANS", "4  ")):
        assert lines[0].index(column) + len(column) == lines[2].index(cell) + len(cell.rstrip()), column
    assert lines[1].endswith(" -")
    assert lines[0].index("CAPTURED") == len(lines[1]) - 1


def test_table_that_is_higher_than_the_terminal_counts_the_rest() -> None:
    caption = table_of([(OPEN, Verdict.CAPTURED)] * 5, WORDS, rows=3, lost=7).caption
    assert caption == "2 more connections; 7 events were lost: more happened than could be told"


def batch(*events: Event, verdict: Verdict = Verdict.CAPTURED, lost: int = 0) -> Batch:
    return Batch(2 * 10**9, [(0, event) for event in events], {0: (OPEN, verdict)}, lost, Watched(WORDS.pods, {}))


def test_live_table_on_a_terminal() -> None:
    output = io.StringIO()
    with TableDisplay(Console(file=output, force_terminal=True, width=120, height=20)) as display:
        display.show(batch(OPENED), WORDS)
        drawn = output.getvalue()
        assert "10.0.0.1:40000" in drawn
        display.show(batch(DROPPED), WORDS)
        assert output.getvalue() == drawn, "drawn twice at one moment"


def test_columns_of_lines_line_up() -> None:
    lines = [
        line_of(0, "what", (replace(OPEN, netns=netns), verdict), WORDS) for netns, verdict in ((1, Verdict.ZTUNNEL), (2, Verdict.AROUND))
    ]
    assert {line.index("what") for line in lines} == {len(lines[0]) - 4}
    assert lines[0].endswith("shop/web 10.0.0.1:40000 > 10.0.0.2:80                  rtt=0.035     captured=ztunnel what")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (OPENED, "SYN_SENT > ESTABLISHED"),
        (DROPPED, "drop NETFILTER_DROP"),
        (replace(DROPPED, elsewhere=True, reason=99), "drop 99 outside the pod"),
        (replace(OPENED, kind=Kind.RESET_SENT, reason=4), "reset-sent TCP_STATE"),
        (replace(OPENED, kind=Kind.RESET_SENT), "reset-sent"),
        (replace(OPENED, kind=Kind.RETRANSMIT), "retransmit"),
    ],
)
def test_words_for_an_event(event: Event, words: str) -> None:
    assert describe(event, WORDS) == words


def test_lines_of_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    display = LineDisplay(as_json=False)
    for shown in (batch(verdict=Verdict.UNDECIDED), batch(replace(OPENED, kind=Kind.RTT)), batch(DROPPED, lost=2)):
        display.show(shown, WORDS)
    output = capsys.readouterr()
    assert [line.split("captured=")[1].split() for line in output.out.splitlines()] == [
        ["-", "open"],
        ["yes", "decided"],
        ["yes", "drop", "NETFILTER_DROP"],
    ]
    assert output.err == "ambient trace: 2 events were lost: more happened than could be told\n"


def test_json_of_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    LineDisplay(as_json=True).show(batch(replace(DROPPED, elsewhere=True)), WORDS)
    assert json.loads(capsys.readouterr().out) == {
        "time": "1970-01-01T00:00:01+00:00",
        "pod": "shop/web",
        "connection": 0,
        "local": "10.0.0.1:40000",
        "remote": "10.0.0.2:80",
        "event": "drop",
        "reason": "NETFILTER_DROP",
        "outside_pod": True,
        "state": "ESTABLISHED",
        "rtt_us": 35,
        "retransmits": 0,
        "resets_sent": 0,
        "resets_received": 0,
        "drops": [],
        "captured": "captured",
    }


def test_what_is_missing_is_a_line_each_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ObservationUnavailable(("bcc is missing", "headers are missing"))

    monkeypatch.setattr(command, "_trace", fail)
    result = CliRunner().invoke(trace, [])
    assert (result.exit_code, result.output) == (1, "ambient trace: bcc is missing\nambient trace: headers are missing\n")


def test_ctrl_c_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_trace", interrupt)
    assert CliRunner().invoke(trace, ["web"]).exit_code == 0


@pytest.mark.parametrize("arguments", [["web", "--all"], ["--duration", "0"], ["--duration", "soon"], ["a", "b"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(trace, arguments).exit_code == 2


def test_naming_the_command_loads_neither_rich_nor_pydantic() -> None:
    """`ambient --help` names every command, and must not wait for what one of them needs."""
    script = "import sys, cli.trace; print([name for name in ('rich', 'pydantic', 'pyroute2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "[]\n"
