"""Events and connections for tests, of a client 10.0.0.1 that talks to a server 10.0.0.2."""

from dataclasses import replace

from ebpf.observe.connection import Connection
from ebpf.observe.events import Event, Kind, socket_address

NETNS = 4026532000
CLIENT, SERVER = socket_address("10.0.0.1", 40000), socket_address("10.0.0.2", 80)
ZTUNNEL_MARK = 0x539

EVENT = Event(time_ns=1000, kind=Kind.STATE, netns=NETNS, local=CLIENT, remote=SERVER, socket=0xA)
CONNECTION = Connection(NETNS, CLIENT, SERVER, opened_ns=0, changed_ns=0)


def state(old: str, new: str, **changes: object) -> Event:
    return replace(EVENT, old_state=old, new_state=new, **changes)  # type: ignore[arg-type]


def packet(kind: Kind, **changes: object) -> Event:
    """An event of a packet that has no socket."""
    return replace(EVENT, kind=kind, socket=0, **changes)  # type: ignore[arg-type]


CONNECTING = state("CLOSE", "SYN_SENT", local=socket_address("10.0.0.1", 0))
CONNECTED = state("SYN_SENT", "ESTABLISHED", time_ns=2000, rtt_us=35)
CLOSED = state("FIN_WAIT2", "CLOSE", time_ns=3000)
