"""Plans against the kernel: applying, verifying, repairing and undoing, and what is left afterwards."""

import dataclasses
from collections.abc import Iterator

import pytest

from daemonset.capture import chains
from daemonset.capture.apply import adopt, apply, holds_anything, survey, undo, verify
from daemonset.capture.items import LoopFilter, Mode, Phase, Plan, Programs, Route, Rule, Steering
from daemonset.capture.plan import EXEMPT_RULE, SWITCH_RULE, plan_capture
from ebpf.sockets import SocketWalker
from mesh.errors import CaptureError
from tests.netns.capture.ground import Ground, snapshot, tcp
from tests.netns.capture.ztunnel import Ztunnel


def test_undo_leaves_no_trace(ground: Ground, plan: Plan, walker: SocketWalker | None) -> None:
    before = snapshot(ground.pod)
    apply(ground.site, plan, walker)
    assert verify(ground.site, plan) == ()
    assert snapshot(ground.pod) != before
    assert holds_anything(ground.site)
    undo(ground.site, walker)
    assert snapshot(ground.pod) == before
    assert not ground.site.pins.exists()
    assert not holds_anything(ground.site)


def test_undo_after_draining_leaves_no_trace(ground: Ground, mode: Mode, plan: Plan, walker: SocketWalker | None) -> None:
    before = snapshot(ground.pod)
    apply(ground.site, plan, walker)
    drain = plan_capture(mode, Phase.DRAIN, survey(ground.site))
    apply(ground.site, drain, walker)
    assert verify(ground.site, drain) == ()
    undo(ground.site, walker)
    assert snapshot(ground.pod) == before


def test_second_apply_and_second_undo_do_nothing(ground: Ground, plan: Plan, walker: SocketWalker | None) -> None:
    assert apply(ground.site, plan, walker)
    assert apply(ground.site, plan, walker) == ()
    assert undo(ground.site, walker)
    assert undo(ground.site, walker) == ()


def test_what_was_there_before_is_kept(ground: Ground, plan: Plan, walker: SocketWalker | None) -> None:
    ground.pod.shell(
        """
sysctl -qw net.ipv4.tcp_fwmark_accept=1
tc qdisc add dev lo clsact
ip rule add pref 9 to 192.0.2.1 lookup main
iptables-nft -t nat -A OUTPUT -d 192.0.2.1 -p tcp -j ACCEPT
"""
    )
    before = snapshot(ground.pod)
    apply(ground.site, plan, walker)
    undo(ground.site, walker)
    assert snapshot(ground.pod) == before


def test_verify_finds_and_apply_repairs_what_was_broken(ground: Ground, mode: Mode, plan: Plan, walker: SocketWalker | None) -> None:
    apply(ground.site, plan, walker)
    broken = snapshot(ground.pod)
    if mode is Mode.EBPF:
        ground.pod.shell("ip rule del pref 14; tc filter del dev lo ingress; ip -6 route flush table 15001; ip rule add pref 12 nop")
        (ground.site.pins / "link").unlink()
        expected = {
            ("missing", Rule(4, SWITCH_RULE, tcp=True, table=15001)),
            ("missing", LoopFilter()),
            ("missing", Route(6, 15001, "eth0", None, 1)),
            ("missing", Steering(inbound=True)),
        }
    else:
        ground.pod.shell("iptables-nft -t nat -F AMBIENT_OUTPUT; ip6tables-nft -t mangle -D OUTPUT 1; ip rule del pref 13")
        expected = {("different", item) for item in plan.items if item.key in {("chains", "4", "nat"), ("chains", "6", "mangle")}}
        expected |= {("missing", item) for item in plan.items if item.key == ("rule", "4", "13")}
    found = verify(ground.site, plan)
    assert expected <= {(finding.what, finding.item) for finding in found}
    apply(ground.site, plan, walker)
    assert verify(ground.site, plan) == ()
    assert snapshot(ground.pod) == broken


def test_a_foreign_rule_in_our_range_is_found(ground: Ground, mode: Mode, plan: Plan, walker: SocketWalker | None) -> None:
    apply(ground.site, plan, walker)
    preference = EXEMPT_RULE if mode is Mode.IPTABLES else SWITCH_RULE
    ground.pod.shell(f"ip rule del pref {preference} 2>/dev/null || true; ip rule add pref {preference} to 192.0.2.1 lookup main")
    assert [finding.what for finding in verify(ground.site, plan)] == ["surplus" if mode is Mode.IPTABLES else "different"]
    apply(ground.site, plan, walker)
    assert verify(ground.site, plan) == ()


def test_a_failing_step_undoes_the_rest(ground: Ground, plan: Plan, walker: SocketWalker | None) -> None:
    before = snapshot(ground.pod)
    index = next(i for i, item in enumerate(plan.items) if isinstance(item, Route))
    items = (*plan.items[: index + 1], dataclasses.replace(plan.items[index], device="absent0"))
    with pytest.raises(CaptureError):
        apply(ground.site, dataclasses.replace(plan, items=items), walker)
    assert snapshot(ground.pod) == before
    assert not ground.site.pins.exists()


def test_the_other_mode_takes_over(ground: Ground, mode: Mode, plan: Plan, walker: SocketWalker | None) -> None:
    before = snapshot(ground.pod)
    other = Mode.IPTABLES if mode is Mode.EBPF else Mode.EBPF
    owned = SocketWalker() if other is Mode.EBPF else None
    try:
        apply(ground.site, plan, walker)
        taken_over = plan_capture(other, Phase.CAPTURE, survey(ground.site))
        apply(ground.site, taken_over, owned)
        assert verify(ground.site, taken_over) == ()
        undo(ground.site, owned)
    finally:
        if owned:
            owned.close()
    assert snapshot(ground.pod) == before


@pytest.mark.parametrize("mode", [Mode.EBPF])
def test_capture_by_another_version_is_replaced(ground: Ground, plan: Plan, walker: SocketWalker) -> None:
    before = snapshot(ground.pod)
    apply(ground.site, plan, walker)
    (ground.site.pins / "own").unlink()
    assert Programs() in [finding.item for finding in verify(ground.site, plan)]
    apply(ground.site, plan, walker)
    assert verify(ground.site, plan) == ()
    undo(ground.site, walker)
    assert snapshot(ground.pod) == before


@pytest.mark.parametrize("mode", [Mode.EBPF])
def test_only_marked_listeners_are_adopted(ground: Ground, plan: Plan, walker: SocketWalker) -> None:
    apply(ground.site, plan, walker)
    impostors = [ground.pod.run(lambda port=port: _listen(port, 0)) for port in (15001, 15006, 15008)]
    assert adopt(ground.site, walker) == (15001, 15006, 15008)
    for impostor in impostors:
        impostor.close()
    with Ztunnel(ground.pod):
        assert adopt(ground.site, walker) == ()


def _listen(port: int, mark: int):
    import socket

    sock = tcp(socket.AF_INET6, mark=mark)
    sock.bind(("::", port))
    sock.listen()
    return sock


@pytest.fixture
def legacy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(chains, "backend", lambda: "legacy")
    return


@pytest.mark.parametrize("mode", [Mode.IPTABLES])
@pytest.mark.usefixtures("legacy")
def test_iptables_legacy(ground: Ground, plan: Plan, walker: None) -> None:
    apply(ground.site, plan, walker)
    assert verify(ground.site, plan) == ()
    assert apply(ground.site, plan, walker) == ()
    assert "AMBIENT_" in ground.pod.shell("iptables-legacy-save -t nat")
    undo(ground.site, walker)
    assert "AMBIENT_" not in ground.pod.shell("iptables-legacy-save; ip6tables-legacy-save")
    assert not holds_anything(ground.site)
