"""Capture plans: from a mode, a phase and what is in the pod's namespace to everything that capture puts there. Pure.

eBPF: one policy-routing table of `local` routes loops the pod's outgoing TCP back in, where the programs of ebpf/programs meet it.
`local` routes on the pod's own devices (and not on lo) take connections of sockets that are bound to a device too, and pass a strict
reverse-path check. iptables: REDIRECT for both directions; a connection mark brings the application's replies to ztunnel, which
connects to it from the client's address. Source: the marks, ports and order of istio/istio cni/pkg/iptables.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from daemonset.capture.items import (
    Chains,
    Device,
    Item,
    LoopFilter,
    Mode,
    Own,
    Phase,
    Plan,
    Programs,
    Route,
    Rule,
    Steering,
    Survey,
    Sysctl,
)
from ebpf.layout import LOOP_MARK, MARK_MASK, ZTUNNEL_MARK
from mesh.model import IPAddress

# Sockets that were there before capture was switched on, and go on without it. Ours; unlike the ecosystem's marks.
EXEMPT_MARK = 0x11E
# Connections that iptables redirected, so that conntrack can be told to forget them. A bit of its own: they may have other marks too.
REDIRECTED_MARK = 0x1000

# Source: ambient ecosystem; what its node probes come from.
PROBES: Mapping[int, IPAddress] = {4: IPv4Address("169.254.7.127"), 6: IPv6Address("fd16:9254:7127:1337:ffff:ffff:ffff:ffff")}

# Outside 0-255 (named tables) and of what CNI plugins hand out from 100 on.
LOOP_TABLE = 15001
# After `local` (0), so that a pod's connections to itself are never touched; before whatever else the namespace has.
ZTUNNEL_RULE, EXEMPT_RULE, PROBE_RULE, LOOP_RULE, SWITCH_RULE, END_RULE = range(10, 16)
RULES = range(ZTUNNEL_RULE, END_RULE + 1)

PREFIX = "AMBIENT_"
_OUTPUT, _PREROUTING = f"{PREFIX}OUTPUT", f"{PREFIX}PREROUTING"
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
_SYN = "--tcp-flags FIN,SYN,RST,ACK SYN"
_NOTHING = Plan(Mode.EBPF, None, ())


def nothing() -> Plan:
    """The plan of a pod that is not captured."""
    return _NOTHING


def plan_capture(mode: Mode, phase: Phase, survey: Survey) -> Plan:
    """Plans capture of one pod.

    IPv6 is planned for a pod that has an IPv6 address on some device.
    """
    families = (4, 6) if any(ip.version == 6 for ip in survey.addresses) else (4,)
    items = _ebpf(phase, survey, families) if mode is Mode.EBPF else _iptables(phase, families)
    return Plan(mode, phase, tuple(items))


def _devices(survey: Survey, family: int) -> list[Device]:
    return [device for device in survey.devices if device.name != "lo" and any(ip.version == family for ip in device.addresses)]


def _ebpf(phase: Phase, survey: Survey, families: tuple[int, ...]) -> list[Item]:
    items: list[Item] = [Programs(), Own(survey.addresses)]
    # The looped-back packets' reverse path is a local route.
    items += [Sysctl(f"net/ipv4/conf/{device.name}/accept_local", 1) for device in _devices(survey, 4)]
    # The application's end of ztunnel's connection takes over the mark of its SYN; both families.
    items += [Sysctl("net/ipv4/tcp_fwmark_accept", 1), LoopFilter()]
    for family in families:
        items += [_loop_route(family, device, metric) for metric, device in enumerate(_devices(survey, family), 1)]
        items += _loop_rules(family)
    items.append(Steering(inbound=phase is Phase.CAPTURE))
    if phase is Phase.CAPTURE:
        items += [Rule(family, SWITCH_RULE, tcp=True, table=LOOP_TABLE) for family in families]
    return items


def _loop_route(family: int, device: Device, metric: int) -> Route:
    # IPv4 would choose the destination itself as source; IPv6 chooses among the device's addresses.
    source = next((ip for ip in device.addresses if ip.version == 4), None) if family == 4 else None
    return Route(family, LOOP_TABLE, device.name, source, metric)


def _loop_rules(family: int) -> list[Item]:
    """Everything but the switch. What is let go jumps over it to END_RULE and meets the namespace's ordinary rules."""
    return [
        Rule(family, END_RULE),
        Rule(family, ZTUNNEL_RULE, mark=ZTUNNEL_MARK, goto=END_RULE),
        Rule(family, EXEMPT_RULE, mark=EXEMPT_MARK, goto=END_RULE),
        Rule(family, PROBE_RULE, destination=PROBES[family], goto=END_RULE),
        Rule(family, LOOP_RULE, mark=LOOP_MARK, tcp=True, table=LOOP_TABLE),
    ]


def is_switch(item: Item) -> bool:
    """Whether the item is what sends new outgoing connections to ztunnel in eBPF mode."""
    return isinstance(item, Rule) and item.preference == SWITCH_RULE


def _iptables(phase: Phase, families: tuple[int, ...]) -> list[Item]:
    items: list[Item] = []
    for family in families:
        items += [
            Route(family, LOOP_TABLE, "lo", None, 1),
            Rule(family, LOOP_RULE, mark=LOOP_MARK, tcp=True, table=LOOP_TABLE),
            Chains(family, "mangle", (_OUTPUT, _PREROUTING), _mangle_rules()),
            Chains(family, "nat", (_OUTPUT, _PREROUTING), _nat_rules(family) if phase is Phase.CAPTURE else ()),
        ]
    return items


def _mangle_rules() -> tuple[str, ...]:
    """Connections of ztunnel to the application are remembered, and the application's replies routed back over lo."""
    loop, ztunnel = f"{LOOP_MARK:#x}/{MARK_MASK:#x}", f"{ZTUNNEL_MARK:#x}/{MARK_MASK:#x}"
    return (
        f"-A {_OUTPUT} -p tcp -m connmark --mark {loop} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        f"-A {_PREROUTING} -i lo -p tcp -m tcp {_SYN} -m mark --mark {ztunnel} -j CONNMARK --set-xmark {loop}",
    )


def _nat_rules(family: int) -> tuple[str, ...]:
    """Only a SYN is redirected: a connection that was there before conntrack looked would be new to it, and torn."""
    loopback, probes = _LOOPBACK[family], f"{PROBES[family]}/{PROBES[family].max_prefixlen}"
    unmarked = f"-m mark ! --mark {ZTUNNEL_MARK:#x}/{MARK_MASK:#x}"
    outgoing = f"-A {_OUTPUT} ! -d {loopback} -p tcp -m tcp {_SYN} {unmarked}"
    incoming = f"-A {_PREROUTING} ! -i lo -p tcp -m tcp ! --dport 15008 {_SYN} {unmarked}"
    note = f"-j CONNMARK --set-xmark {REDIRECTED_MARK:#x}/{REDIRECTED_MARK:#x}"
    return (
        f"-A {_OUTPUT} -d {probes} -p tcp -j ACCEPT",
        f"-A {_OUTPUT} -o lo -p tcp -j ACCEPT",
        f"{outgoing} {note}",
        f"{outgoing} -j REDIRECT --to-ports 15001",
        f"-A {_PREROUTING} -s {probes} -p tcp -j ACCEPT",
        f"{incoming} {note}",
        f"{incoming} -j REDIRECT --to-ports 15006",
    )
