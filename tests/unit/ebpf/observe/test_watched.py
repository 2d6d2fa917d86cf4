"""Whose event it is."""

from dataclasses import replace

from ebpf.observe.events import Kind, parse_event, socket_address
from ebpf.observe.process import decode
from ebpf.observe.watched import Watched, attribute
from tests.unit.ebpf.observe.made import CLIENT, CONNECTED, EVENT, NETNS, SERVER
from tests.unit.ebpf.observe.test_process import event_bytes

OTHER = NETNS + 1
NODE = 1
BOTH = Watched({NETNS: "shop/client", OTHER: "shop/server"}, {CLIENT.ip: NETNS, SERVER.ip: OTHER}, frozenset({NODE}))
ONLY_CLIENT = Watched({NETNS: "shop/client"}, {CLIENT.ip: NETNS}, frozenset({NODE, OTHER}))
DROP = replace(EVENT, kind=Kind.DROP, netns=NODE)


def test_event_of_a_watched_namespace() -> None:
    assert attribute(CONNECTED, ONLY_CLIENT) == [CONNECTED]


def test_event_of_another_namespace() -> None:
    assert attribute(replace(CONNECTED, netns=OTHER), ONLY_CLIENT) == []


def test_drop_on_the_node_concerns_the_pod_that_sent() -> None:
    [seen] = attribute(DROP, ONLY_CLIENT)
    assert seen == replace(DROP, netns=NETNS, socket=0, elsewhere=True)


def test_drop_on_the_node_concerns_the_pod_that_would_have_received_as_it_sees_the_connection() -> None:
    [seen] = attribute(replace(DROP, local=SERVER, remote=CLIENT), ONLY_CLIENT)
    assert (seen.netns, seen.local, seen.remote, seen.elsewhere) == (NETNS, CLIENT, SERVER, True)


def test_drop_on_the_node_concerns_both_pods() -> None:
    assert [(seen.netns, seen.local) for seen in attribute(DROP, BOTH)] == [(NETNS, CLIENT), (OTHER, SERVER)]


def test_drop_inside_a_pod_is_told_once_there_and_as_elsewhere_to_its_peer() -> None:
    seen = attribute(replace(DROP, netns=OTHER, local=SERVER, remote=CLIENT), BOTH)
    assert [(one.netns, one.elsewhere) for one in seen] == [(OTHER, False), (NETNS, True)]


def test_drop_in_a_namespace_where_the_addresses_may_be_anybodys() -> None:
    assert attribute(replace(DROP, netns=9), BOTH) == []


def test_what_the_process_prints_is_read() -> None:
    event = parse_event(decode(event_bytes(family=10, remote=bytes(10) + b"\xff\xff\x0a\0\0\2", local=bytes(15) + b"\1")))
    assert (event.kind, event.local, event.remote) == (Kind.STATE, socket_address("::1", 40000), SERVER)
    assert (event.new_state, event.rtt_us, event.mark, event.netns, event.socket) == ("ESTABLISHED", 35, 0x539, 3, 2)
