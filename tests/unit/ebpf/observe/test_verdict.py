"""Whether a connection was captured, for every way in which it can go."""

from dataclasses import replace

import pytest

from ebpf.observe.connection import Connection
from ebpf.observe.events import socket_address
from ebpf.observe.verdict import SETTLE_NS, Verdict, is_ztunnel, judge
from mesh.model import SocketAddress
from tests.unit.ebpf.observe.made import CLIENT, CONNECTION, SERVER, ZTUNNEL_MARK

OPEN = replace(CONNECTION, state="ESTABLISHED", agreed_ns=0)
SETTLED = SETTLE_NS
LOOPBACK, LOOPBACK6 = socket_address("127.0.0.1", 1), socket_address("::1", 1)


@pytest.mark.parametrize(
    ("connection", "ztunnels", "now_ns", "verdict"),
    [
        pytest.param(OPEN, [SERVER], 0, Verdict.CAPTURED, id="ztunnel has the original destination: sk_lookup, TPROXY"),
        pytest.param(OPEN, [socket_address("127.0.0.1", 15001)], 0, Verdict.CAPTURED, id="REDIRECT of what leaves"),
        pytest.param(OPEN, [socket_address("10.0.0.1", 15006)], 0, Verdict.CAPTURED, id="REDIRECT of what arrives"),
        pytest.param(
            replace(OPEN, local=SERVER, remote=CLIENT), [CLIENT], 0, Verdict.CAPTURED, id="ztunnel dialled with the client's address"
        ),
        pytest.param(replace(OPEN, captured=True), [], SETTLED, Verdict.CAPTURED, id="the other end was seen before"),
        pytest.param(replace(OPEN, remote=socket_address("10.0.0.1", 80)), [SERVER], 0, Verdict.EXEMPT, id="to the pod's own address"),
        pytest.param(OPEN, [], SETTLED, Verdict.AROUND, id="nobody of ztunnel at the other end"),
        pytest.param(OPEN, [socket_address("10.0.0.9", 80)], SETTLED, Verdict.AROUND, id="ztunnel talks to somebody else"),
        pytest.param(OPEN, [], SETTLED - 1, Verdict.UNDECIDED, id="the other end may still come"),
        pytest.param(replace(OPEN, state="CLOSE"), [], 0, Verdict.AROUND, id="ended, and nobody came"),
        pytest.param(replace(CONNECTION, state="SYN_SENT"), [], SETTLED, Verdict.UNDECIDED, id="not established yet"),
        pytest.param(replace(CONNECTION, state="CLOSE"), [], SETTLED, Verdict.UNDECIDED, id="refused"),
        pytest.param(CONNECTION, [], SETTLED, Verdict.UNDECIDED, id="no socket"),
        pytest.param(replace(OPEN, mark=ZTUNNEL_MARK), [SERVER], SETTLED, Verdict.ZTUNNEL, id="ztunnel's"),
        pytest.param(replace(OPEN, local=LOOPBACK, remote=LOOPBACK), [], SETTLED, Verdict.EXEMPT, id="loopback"),
        pytest.param(replace(OPEN, local=LOOPBACK6, remote=LOOPBACK6), [], SETTLED, Verdict.EXEMPT, id="IPv6 loopback"),
        pytest.param(replace(OPEN, remote=socket_address("169.254.7.127", 9)), [], SETTLED, Verdict.EXEMPT, id="the node's probe"),
        pytest.param(
            replace(OPEN, remote=socket_address("fd16:9254:7127:1337:ffff:ffff:ffff:ffff", 9)), [], SETTLED, Verdict.EXEMPT, id="IPv6 probe"
        ),
    ],
)
def test_verdict(connection: Connection, ztunnels: list[SocketAddress], now_ns: int, verdict: Verdict) -> None:
    assert judge(connection, ztunnels, now_ns) is verdict


@pytest.mark.parametrize(("mark", "ours"), [(0x539, True), (0x1539, True), (0, False), (0x111, False), (0x538, False)])
def test_the_mark_counts_under_its_mask(mark: int, ours: bool) -> None:
    assert is_ztunnel(mark) is ours
