"""`ambient trace` over real namespaces, connections, resets and losses: what it tells is what was done."""

import os
import select
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpf.observe.events import Event
from ebpf.observe.observer import Lost, Observer
from ebpf.observe.requirements import ObservationUnavailable, prepare
from ebpf.observe.watched import Watched
from tests.netns.trace_ground import CLIENT, CLIENT6, ROOT, SERVER, SERVER6, TIMEOUT_S, Ground, Trace, make_ground, reset, text

ZTUNNEL_MARK = 0x539


@pytest.fixture(scope="module", autouse=True)
def _bcc_works() -> None:
    try:
        prepare()
    except ObservationUnavailable as error:
        pytest.skip(f"NOT TESTED: ambient trace cannot run here: {'; '.join(error.problems)}")


@pytest.fixture
def ground() -> Iterator[Ground]:
    with make_ground(f"trc{uuid.uuid4().hex[:6]}") as ground:
        yield ground


@pytest.fixture
def trace(ground: Ground) -> Iterator[Trace]:
    """A trace of both pods that is known to run: it has told of a connection that was open before."""
    client, server = ground.pair()
    with client, server, Trace(ground, "--json") as trace:
        trace.wait_for(pod="shop/client", event="open", local=text(client), remote=text(server))
        yield trace


def states(trace: Trace, of: dict[str, Any]) -> list[str]:
    """The states that the connection of this line came into; by its number, for SYN_SENT comes before the local port."""
    return [line["new_state"] for line in trace.lines if line["connection"] == of["connection"] and line["event"] == "state"]


def test_connection_from_opening_to_end(ground: Ground, trace: Trace) -> None:
    client, server = ground.pair()
    client_text, server_text = text(client), text(server)
    client.sendall(b"question")
    server.recv(100)
    server.sendall(b"answer")
    client.recv(100)
    client.close()
    server.recv(1)
    server.close()

    ended = trace.wait_for(pod="shop/client", local=client_text, event="state", new_state="CLOSE")
    accepted = trace.wait_for(pod="shop/server", local=server_text, remote=client_text, event="state", new_state="CLOSE")

    assert states(trace, ended) == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE"]
    assert states(trace, accepted) == ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"]
    assert 0 < ended["rtt_us"] < 10_000_000
    assert (ended["retransmits"], ended["resets_sent"], ended["resets_received"], ended["drops"]) == (0, 0, 0, [])


def test_ipv6(ground: Ground, trace: Trace) -> None:
    client, server = ground.pair(SERVER6)
    client_text, server_text = text(client), text(server)
    assert client_text.startswith(f"[{CLIENT6}]:")
    client.close()
    server.close()
    trace.wait_for(pod="shop/client", local=client_text, remote=server_text, event="state", new_state="CLOSE")
    trace.wait_for(pod="shop/server", local=server_text, remote=client_text, event="state", new_state="CLOSE")
    with pytest.raises(ConnectionRefusedError):
        ground.connect("client", (SERVER6, 9))
    trace.wait_for(pod="shop/server", local=f"[{SERVER6}]:9", event="drop", reason="NO_SOCKET")


def test_ipv4_on_an_ipv6_socket_is_ipv4(ground: Ground, trace: Trace) -> None:
    client, server = ground.pair(SERVER, bound="::")
    with client, server:
        assert server.family == socket.AF_INET6
        trace.wait_for(pod="shop/server", local=text(server), remote=text(client), event="state", new_state="ESTABLISHED")
        assert text(server).startswith(f"{SERVER}:")


def test_reset_is_told_on_both_sides(ground: Ground, trace: Trace) -> None:
    client, server = ground.pair()
    with client:
        client_text, server_text = text(client), text(server)
        reset(server)
        trace.wait_for(pod="shop/server", local=server_text, remote=client_text, event="reset-sent", resets_sent=1)
        trace.wait_for(pod="shop/client", local=client_text, remote=server_text, event="reset-received", resets_received=1)


def test_refused_connection_names_the_reason(ground: Ground, trace: Trace) -> None:
    with pytest.raises(ConnectionRefusedError):
        ground.connect("client", (SERVER, 9))
    trace.wait_for(pod="shop/client", remote=f"{SERVER}:9", event="reset-received")
    trace.wait_for(pod="shop/client", remote=f"{SERVER}:9", event="state", old_state="SYN_SENT", new_state="CLOSE")
    trace.wait_for(pod="shop/server", local=f"{SERVER}:9", event="reset-sent")
    trace.wait_for(pod="shop/server", local=f"{SERVER}:9", event="drop", reason="NO_SOCKET", outside_pod=False)


def test_loss_shows_as_drops_with_their_reason_and_as_retransmits(ground: Ground, trace: Trace) -> None:
    client, server = ground.pair()
    with client, server:
        ground.rule("server", "-A", "INPUT", "-p", "tcp", "-m", "statistic", "--mode", "nth", "--every", "4", "--packet", "0", "-j", "DROP")
        for _ in range(40):
            client.sendall(b"x" * 1000)
            assert server.recv(1000)

        client_text, server_text = text(client), text(server)
        retransmitted = trace.wait_for(pod="shop/client", local=client_text, remote=server_text, event="retransmit")
        trace.wait_for(pod="shop/server", local=server_text, remote=client_text, event="drop", reason="NETFILTER_DROP", outside_pod=False)
        trace.wait_for(pod="shop/client", local=client_text, remote=server_text, event="drop", reason="NETFILTER_DROP", outside_pod=True)
    assert retransmitted["retransmits"] >= 1


def test_same_addresses_outside_the_lab_are_not_the_pods(ground: Ground, trace: Trace) -> None:
    """Another lab on this machine has pods of the same addresses; what is refused there happens to nobody here."""
    with make_ground(f"trc{uuid.uuid4().hex[:6]}") as other, pytest.raises(ConnectionRefusedError):
        other.connect("client", (SERVER, 8))
    with pytest.raises(ConnectionRefusedError):
        ground.connect("client", (SERVER, 9))
    trace.wait_for(pod="shop/server", local=f"{SERVER}:9", event="drop")
    assert not [line for line in trace.lines if f"{SERVER}:8" in {line["local"], line["remote"]}]


def test_packet_dropped_on_its_way_out_of_the_pod(ground: Ground, trace: Trace) -> None:
    ground.rule("client", "-A", "OUTPUT", "-p", "tcp", "--dport", "81", "-j", "DROP")
    with pytest.raises(TimeoutError):
        ground.connect("client", (SERVER, 81), timeout_s=0.5)
    dropped = trace.wait_for(pod="shop/client", remote=f"{SERVER}:81", event="drop", reason="NETFILTER_DROP", outside_pod=False)
    assert dropped["state"] == "SYN_SENT"


def test_whether_it_was_captured(ground: Ground, trace: Trace) -> None:
    with (
        ground.listen("client", "0.0.0.0", 15001, mark=ZTUNNEL_MARK) as ztunnel,
        ground.listen("client", "127.0.0.1", 82),
        ground.listen("server", SERVER, 80),
    ):
        around = ground.connect("client", (SERVER, 80))
        ground.rule("client", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", SERVER, "-j", "REDIRECT", "--to-ports", "15001")
        captured = ground.connect("client", (SERVER, 80))
        accepted, _ = ztunnel.accept()
        inside = ground.connect("client", ("127.0.0.1", 82))
        with around, captured, accepted, inside:
            assert accepted.getpeername() == captured.getsockname()
            assert trace.wait_for(local=text(captured), remote=f"{SERVER}:80", captured="captured")
            assert trace.wait_for(local=text(around), remote=f"{SERVER}:80", captured="around")
            assert trace.wait_for(local=text(inside), remote="127.0.0.1:82", captured="exempt")
            assert trace.wait_for(local=text(accepted), remote=text(captured), captured="ztunnel")
            assert not [line for line in trace.lines if line["local"] == text(captured) and line["captured"] == "around"]


def test_captured_with_its_original_destination(ground: Ground, trace: Trace) -> None:
    """TPROXY, as eBPF's sk_lookup, lets ztunnel's socket have the address that the application asked for."""
    ground.ip("client", "rule", "add", "fwmark", "1", "lookup", "100")
    ground.ip("client", "route", "add", "local", "default", "dev", "lo", "table", "100")
    ground.rule("client", "-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "-d", SERVER, "-j", "MARK", "--set-mark", "1")
    ground.rule("client", "-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "--dport", "80", "-j", "TPROXY", "--on-port", "15001")
    with ground.listen("client", "0.0.0.0", 15001, mark=ZTUNNEL_MARK) as ztunnel:
        captured = ground.connect("client", (SERVER, 80))
        accepted, _ = ztunnel.accept()
        with captured, accepted:
            assert accepted.getsockname() == (SERVER, 80)
            trace.wait_for(local=text(captured), remote=f"{SERVER}:80", captured="captured")
            trace.wait_for(local=f"{SERVER}:80", remote=text(captured), captured="ztunnel")


def test_only_the_pod_that_was_asked_for(ground: Ground) -> None:
    before = ground.pair()
    with before[0], before[1], Trace(ground, "--json", "server") as trace:
        trace.wait_for(pod="shop/server", event="open", local=text(before[1]))
        client, server = ground.pair()
        with client, server:
            trace.wait_for(pod="shop/server", event="state", new_state="ESTABLISHED", remote=text(client))
        assert {line["pod"] for line in trace.lines} == {"shop/server"}


def test_packet_that_is_dropped_where_nobody_traces(ground: Ground) -> None:
    ground.rule("client", "-A", "INPUT", "-p", "tcp", "--dport", "7", "-j", "DROP")
    before = ground.pair()
    with before[0], before[1], Trace(ground, "--json", "server") as trace:
        trace.wait_for(pod="shop/server", event="open")
        with pytest.raises(TimeoutError):
            ground.connect("server", (CLIENT, 7), timeout_s=0.5)
        trace.wait_for(pod="shop/server", remote=f"{CLIENT}:7", event="drop", reason="NETFILTER_DROP", outside_pod=True, state="SYN_SENT")


def test_pod_that_starts_later_is_traced(ground: Ground) -> None:
    link = Path(f"/run/ambient-{ground.lab}/nodes/one/netns/client-uid")
    target = link.readlink()
    link.unlink()
    client, server = ground.pair()
    with client, server, Trace(ground, "--json", "--all") as trace:
        trace.wait_for(pod="shop/server", event="open")
        assert "shop/client" not in {line["pod"] for line in trace.lines}
        link.symlink_to(target)
        trace.wait_for(pod="shop/client", event="open", local=text(client))


def test_lines_where_output_is_no_terminal(ground: Ground) -> None:
    client, server = ground.pair()
    with client, server, Trace(ground, "--duration", "1.5", "shop/client") as trace:
        output, errors = trace.process.communicate(timeout=TIMEOUT_S)
        assert (trace.process.returncode, errors) == (0, b"")
        assert f"shop/client {text(client)} > {text(server)}" in output.decode()


def test_unknown_pod_is_one_line_and_exit_code_1(ground: Ground) -> None:
    with Trace(ground, "nobody") as trace:
        output, errors = trace.process.communicate(timeout=TIMEOUT_S)
    assert (trace.process.returncode, output) == (1, b"")
    assert errors.decode() == "ambient trace: POD: 'nobody': expected a running pod: shop/client, shop/server\n"


def test_what_is_watched_can_change(ground: Ground) -> None:
    with Observer(prepare()) as observer:
        observer.watch(Watched({ground.inode("client"): "client"}, {}))
        told = observer.watch(Watched({ground.inode("server"): "server"}, {}))
        for sock in ground.pair():
            sock.close()
        while not any(isinstance(one, Event) and one.new_state == "CLOSE" for one in told):
            told += observer.read(TIMEOUT_S)
    assert {one.netns for one in told if isinstance(one, Event)} == {ground.inode("server")}


def test_events_that_do_not_fit_are_counted(ground: Ground) -> None:
    """Stops the observation process while more happens than the ring of 1 MiB holds: 80 bytes an event, 11 events and more a connection."""
    with Observer(prepare()) as observer:
        observer.watch(Watched({ground.inode("client"): "client", ground.inode("server"): "server"}, {}))
        os.kill(observer.pid, signal.SIGSTOP)
        try:
            with ground.listen("server", SERVER) as listener:
                for _ in range(1500):
                    with ground.connect("client", listener.getsockname()), listener.accept()[0]:
                        pass
        finally:
            os.kill(observer.pid, signal.SIGCONT)
        lost: list[Lost] = []
        while not lost:
            told = observer.read(TIMEOUT_S)
            assert told
            lost = [one for one in told if isinstance(one, Lost)]
    assert 0 < lost[0].total < 100_000


def test_observation_ends_with_its_parent(ground: Ground) -> None:
    """Kills the parent with -9, so that only the kernel can tell the child."""
    script = (
        "import time\nfrom ebpf.observe.observer import Observer\nfrom ebpf.observe.requirements import prepare\n"
        "from ebpf.observe.watched import Watched\n"
        "observer = Observer(prepare())\nobserver.watch(Watched({}, {}))\nprint(observer.pid, flush=True)\ntime.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([child], [], [], TIMEOUT_S)
        os.close(child)
    assert ended
