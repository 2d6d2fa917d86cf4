"""Access-log lines, golden, and the counts that go with them."""

import json
from pathlib import Path

from ztunnel.engine.interface import Cause, Closed, Direction, Notice, Opened, Refused
from ztunnel.telemetry.access import LINES_AT_ONCE, AccessLog
from ztunnel.telemetry.labels import Labels, Party, ServiceName
from ztunnel.telemetry.lines import FORMATS
from ztunnel.telemetry.reports import Reports

GOLDEN = Path(__file__).parents[3] / "golden/ztunnel"
CLIENT = Party("client", "client-app", "shop", "client", "v1", "Kubernetes", "spiffe://cluster.local/ns/shop/sa/buyer")
WEB = Party("web-1", "web", "shop", "web", "latest", "Kubernetes", "spiffe://cluster.local/ns/shop/sa/default")
TUNNEL = Labels("source", CLIENT, WEB, ServiceName("web.shop.svc.cluster.local", "web", "shop"), "10.0.2.1:8080", secure=True)
INBOUND = Labels("destination", CLIENT, WEB, hbone_address="10.0.2.1:8080", secure=True)
STRANGER = Labels("source", CLIENT, Party())
HOP, PEER = "10.0.2.1:15008", WEB.identity


class Log:
    def __init__(self, style: str = "plain", enabled: bool = True) -> None:
        self.written: list[bytes] = []
        self.reports = Reports()
        self.access = AccessLog(
            self.reports, FORMATS[style], self.written.append, {1: "shop/web-1"}.__getitem__, lambda: 1732300000.125, lambda: enabled
        )

    def record(self, *notices: Notice) -> str:
        self.access.record(notices)
        return b"".join(self.written).decode()


def story(log: Log) -> str:
    """A connection through a tunnel seen from both nodes, one to a stranger, and each way to fail."""
    tunnel, inbound, stranger = map(log.reports.number, (TUNNEL, INBOUND, STRANGER))
    source = "10.0.1.1:40000"
    return log.record(
        Opened(1, tunnel, source, HOP, PEER),
        Opened(2, inbound, source, "10.0.2.1:8080", CLIENT.identity),
        Closed(1, tunnel, source, HOP, PEER, True, 120, 4096, 15, Cause.NONE, ""),
        Closed(2, inbound, source, "10.0.2.1:8080", CLIENT.identity, True, 120, 4096, 14, Cause.SERVER_RESET, ""),
        Opened(3, stranger, "[fd00:1::1]:40001", "[2001:db8::1]:443", ""),
        Closed(4, tunnel, source, HOP, "", False, 0, 0, 10000, Cause.TUNNEL_REFUSED, 'status 503 "connection\nrefused"'),
        Closed(5, stranger, source, "", "", False, 0, 0, 3, Cause.NO_UPSTREAM, ""),
        Refused(1, Direction.INBOUND_HBONE, "10.0.9.9:55555", Cause.TLS_FAILURE, "no client certificate\nforged=line"),
    )


def test_plain_lines() -> None:
    assert story(Log()) == (GOLDEN / "access.log").read_text()


def test_json_lines() -> None:
    text = story(Log("json"))
    assert text == (GOLDEN / "access.json").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["message"] for line in lines] == [
        "connection opened",
        "connection opened",
        "connection closed",
        "connection closed",
        "connection opened",
        "connection failed",
        "connection failed",
        "connection refused",
    ]
    assert (lines[2]["bytes_sent"], lines[2]["bytes_recv"]) == (4096, 120), "seen from the server, as the ecosystem has it"


def test_what_a_peer_says_cannot_forge_a_line() -> None:
    assert story(Log()).count("\n") == 8


def test_everything_is_counted_by_its_flags() -> None:
    log = Log(enabled=False)
    assert story(log) == "", "the level is above info"
    tunnel = log.reports.get(log.reports.number(TUNNEL)).totals
    assert tunnel.opened == {"-": 1, "CONNECT": 1}
    assert tunnel.closed == {"-": 1, "CONNECT": 1}
    stranger = log.reports.get(log.reports.number(STRANGER)).totals
    assert (stranger.opened, stranger.closed) == ({"-": 1, "CONNECT": 1}, {"CONNECT": 1})
    assert log.access.refused == {("inbound_hbone", "tls_failure"): 1}


def test_the_lines_of_one_wake_up_leave_together_but_not_without_bound() -> None:
    log = Log()
    log.record(*(Opened(number, 0, "10.0.0.1:1", "10.0.0.2:2", "") for number in range(LINES_AT_ONCE + 10)))
    assert [written.count(b"\n") for written in log.written] == [LINES_AT_ONCE, 10]


def test_a_report_that_is_not_known_is_still_a_line() -> None:
    assert "src.addr=10.0.0.1:1 dst.addr=10.0.0.2:2" in Log().record(Opened(1, 999, "10.0.0.1:1", "10.0.0.2:2", ""))
