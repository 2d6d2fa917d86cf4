"""Rules, routes, addresses and the filter on lo, read and changed by netlink in the calling thread's network namespace."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface
from typing import Any

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from daemonset.capture.items import Device, Route, Rule, Survey
from daemonset.capture.plan import LOOP_TABLE, RULES
from ebpf.layout import MARK_MASK

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANY = {4: "0.0.0.0/0", 6: "::/0"}
_LOOPBACK_INDEX = 1
_INGRESS = 0xFFFFFFF2  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
_CLSACT = 0xFFFFFFF1
# Ours among the filters of lo: no other program uses this preference.
_FILTER_PREFERENCE = 0x539
_FILTER_HANDLE = 1
_TO_TABLE, _GOTO, _NOP = 1, 2, 3  # FR_ACT_*, include/uapi/linux/fib_rules.h
_LOCAL = 2  # RTN_LOCAL
# What the kernel says of something that is not there: rules, routes, filters and qdiscs each in its own way.
_ABSENT = frozenset({errno.ENOENT, errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV})


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what netlink raises within into OSErrors."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"netlink: {error}") from error


@contextmanager
def routing() -> Iterator[IPRoute]:
    """A netlink socket in the calling thread's namespace."""
    with IPRoute() as netlink, refusals():
        yield netlink


def _dump(netlink: IPRoute, call: str, **filters: Any) -> list[Any]:
    """A dump; empty where the kernel lacks the family: it then refuses, or answers with every family that it has."""
    try:
        found = list(getattr(netlink, call)(**filters))
    except NetlinkError as error:
        if error.code in _ABSENT:
            return []
        raise
    return [one for one in found if one["family"] == filters.get("family", one["family"])]


def read_survey(netlink: IPRoute) -> Survey:
    """The namespace's devices and addresses, loopback addresses aside."""
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in _dump(netlink, "get_links")}
    found: dict[int, list[str]] = {index: [] for index in names}
    for family in _FAMILIES.values():
        for address in _dump(netlink, "get_addr", family=family):
            text = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS")
            if address["index"] in found and not ip_address(text).is_loopback:
                found[address["index"]].append(text)
    devices = (Device(names[index], tuple(map(ip_address, texts))) for index, texts in found.items())
    return Survey(tuple(device for device in devices if device.addresses))


def read_rules(netlink: IPRoute) -> list[Rule]:
    """The rules in our range of preferences, whoever made them."""
    rules: list[Rule] = []
    for family, number in _FAMILIES.items():
        dump = _dump(netlink, "get_rules", family=number)
        rules += [_read_rule(family, found) for found in dump if found.get_attr("FRA_PRIORITY") in RULES]
    return rules


def _read_rule(family: int, found: Any) -> Rule:
    mask = found.get_attr("FRA_FWMASK")
    destination = found.get_attr("FRA_DST")
    return Rule(
        family,
        found.get_attr("FRA_PRIORITY"),
        mark=found.get_attr("FRA_FWMARK") if mask == MARK_MASK else None,
        tcp=found.get_attr("FRA_IP_PROTO") == socket.IPPROTO_TCP,
        destination=ip_interface(destination).ip if destination else None,
        table=found.get_attr("FRA_TABLE") if found["action"] == _TO_TABLE else None,
        goto=found.get_attr("FRA_GOTO") if found["action"] == _GOTO else None,
    )


def _rule_fields(rule: Rule) -> dict[str, Any]:
    fields: dict[str, Any] = {"family": _FAMILIES[rule.family], "priority": rule.preference}
    if rule.mark is not None:
        fields |= {"fwmark": rule.mark, "fwmask": MARK_MASK}
    if rule.tcp:
        fields["ip_proto"] = socket.IPPROTO_TCP
    if rule.destination:
        fields |= {"dst": str(rule.destination), "dst_len": rule.destination.max_prefixlen}
    if rule.table:
        return fields | {"table": rule.table, "action": _TO_TABLE}
    return fields | ({"goto": rule.goto, "action": _GOTO} if rule.goto else {"action": _NOP})


def add_rule(netlink: IPRoute, rule: Rule) -> None:
    """Adds the rule; whatever else has its preference goes first."""
    remove_rule(netlink, rule)
    netlink.rule("add", **_rule_fields(rule))


def remove_rule(netlink: IPRoute, rule: Rule) -> None:
    """Removes every rule of this family and preference."""
    while True:
        try:
            netlink.rule("del", family=_FAMILIES[rule.family], priority=rule.preference)
        except NetlinkError as error:
            if error.code in _ABSENT:
                return
            raise


def read_routes(netlink: IPRoute) -> list[Route]:
    """The routes of our table."""
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in _dump(netlink, "get_links")}
    routes = []
    for family, number in _FAMILIES.items():
        for found in _dump(netlink, "get_routes", family=number, table=LOOP_TABLE):
            if found["type"] == _LOCAL and found["dst_len"] == 0:
                source = found.get_attr("RTA_PREFSRC")
                device = names.get(found.get_attr("RTA_OIF"), "")
                routes.append(
                    Route(family, LOOP_TABLE, device, ip_address(source) if source else None, found.get_attr("RTA_PRIORITY") or 0)
                )
    return routes


def _route_fields(netlink: IPRoute, route: Route) -> dict[str, Any]:
    indexes = netlink.link_lookup(ifname=route.device)
    if not indexes:
        raise OSError(errno.ENODEV, f"no device {route.device}")
    fields = {"family": _FAMILIES[route.family], "table": route.table, "dst": _ANY[route.family], "type": "local", "oif": indexes[0]}
    fields |= {"priority": route.metric} | ({"scope": "host"} if route.family == 4 else {})
    return fields | ({"prefsrc": str(route.source)} if route.source else {})


def add_route(netlink: IPRoute, route: Route) -> None:
    """Adds the route, in the place of one with the same metric."""
    netlink.route("replace", **_route_fields(netlink, route))


def remove_route(netlink: IPRoute, route: Route) -> None:
    """Removes the route, if it is there."""
    try:
        netlink.route("del", **_route_fields(netlink, route))
    except NetlinkError as error:
        if error.code not in _ABSENT:
            raise
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def has_clsact(netlink: IPRoute) -> bool:
    """Whether lo has the qdisc that filters hang on."""
    return any(qdisc.get_attr("TCA_KIND") == "clsact" for qdisc in _dump(netlink, "get_qdiscs", index=_LOOPBACK_INDEX))


def _filters(netlink: IPRoute) -> list[Any]:
    return _dump(netlink, "get_filters", index=_LOOPBACK_INDEX, parent=_INGRESS)


def read_filter_name(netlink: IPRoute) -> str | None:
    """The name that our filter on lo was given; None: there is none."""
    for found in _filters(netlink):
        options = found.get_attr("TCA_OPTIONS")
        if found["info"] >> 16 == _FILTER_PREFERENCE and found["handle"] == _FILTER_HANDLE and options:
            return str(options.get_attr("TCA_BPF_NAME"))
    return None


def add_filter(netlink: IPRoute, program: int, name: str) -> None:
    """Puts a program (a file descriptor) on the ingress of lo, in the place of an older one of ours."""
    if not has_clsact(netlink):
        netlink.tc("add", "clsact", _LOOPBACK_INDEX)
    common: dict[str, Any] = {"parent": _INGRESS, "prio": _FILTER_PREFERENCE, "handle": _FILTER_HANDLE}
    verb = "add-filter" if read_filter_name(netlink) is None else "replace-filter"
    netlink.tc(verb, "bpf", _LOOPBACK_INDEX, fd=program, name=name, classid=1, direct_action=True, **common)


def remove_filter(netlink: IPRoute, *, with_qdisc: bool) -> None:
    """Removes our filter from lo, and the qdisc too when nothing else hangs on it and `with_qdisc` says that it is ours."""
    if read_filter_name(netlink) is not None:
        netlink.tc("del-filter", "bpf", _LOOPBACK_INDEX, parent=_INGRESS, prio=_FILTER_PREFERENCE, handle=_FILTER_HANDLE)
    if (
        with_qdisc
        and has_clsact(netlink)
        and not _filters(netlink)
        and not _dump(netlink, "get_filters", index=_LOOPBACK_INDEX, parent=_INGRESS + 1)
    ):
        netlink.tc("del", "clsact", _LOOPBACK_INDEX, handle=0xFFFF0000, parent=_CLSACT)
