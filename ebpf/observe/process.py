"""The observation process: compiles program.c with bcc, attaches it, and prints one JSON object a line for each event.

It is executed as a file by the system's Python, which has bcc, and so imports nothing but bcc and the standard library. It lives as long
as its standard input is open and its parent lives.

Standard input: one JSON line at the start, and one for each change of what is watched:
    {"program": path, "flags": [compiler arguments], "parent": pid}
    {"pods": [inode, ...], "neighbours": [inode, ...], "addresses": [text, ...]}
Standard output: {"watching": count} when a change has been made, events as `decode` makes them, and {"lost": total} when events did not
fit in the ring.
An error goes to standard error, and the exit code is 1.
"""

import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

# struct event of event.h; a test compares the two.
EVENT = struct.Struct("<QQIIIIBBBBHH16s16s")
EVENT_FIELDS = (
    "time_ns",
    "socket",
    "netns",
    "mark",
    "rtt_us",
    "reason",
    "kind",
    "family",
    "old_state",
    "new_state",
    "local_port",
    "remote_port",
    "local",
    "remote",
)
KINDS = {1: "state", 2: "rtt", 3: "retransmit", 4: "reset-sent", 5: "reset-received", 6: "drop"}
# The kernel's numbers of TCP states. Source: include/net/tcp_states.h, which is part of the tracepoints' interface.
STATES = (
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)
# What a namespace is to program.c: a test compares the two.
ROLE_POD, ROLE_NEIGHBOUR = 1, 2
# How long events may lie in the ring before they are printed, and how soon the end of standard input is noticed.
POLL_MS = 100
PR_SET_PDEATHSIG = 1
# A command is a list of the pods of a node at most.
MAX_COMMAND_BYTES = 1 << 20


def decode(data: bytes) -> dict[str, Any]:
    """One struct event as what is printed: kind and states by name, addresses as text.

    Raises:
        ValueError: it is not a struct event, or of a kind or state that is not known.
    """
    if len(data) != EVENT.size:
        raise ValueError(f"an event has {EVENT.size} bytes, not {len(data)}")
    event = dict(zip(EVENT_FIELDS, EVENT.unpack(data), strict=True))
    family = event.pop("family")
    if family not in (socket.AF_INET, socket.AF_INET6) or event["kind"] not in KINDS:
        raise ValueError(f"unknown family {family} or kind {event['kind']}")
    for name in ("old_state", "new_state"):
        if event[name] >= len(STATES):
            raise ValueError(f"unknown state {event[name]}")
        event[name] = STATES[event[name]]
    for name in ("local", "remote"):
        event[name] = socket.inet_ntop(family, event[name][:4] if family == socket.AF_INET else event[name])
    return {**event, "kind": KINDS[event["kind"]]}


def pack_address(text: str) -> bytes:
    """An address as the kernel side keeps it: 16 bytes, of which an IPv4 address takes the first 4."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text).ljust(16, b"\0")


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")


def _die_with(parent: int) -> None:
    """Asks the kernel to end this process when its parent ends, which may have happened already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)


class _Commands:
    """Lines of standard input, without blocking on it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self.ended = False

    def take(self, timeout_s: float) -> list[dict[str, Any]]:
        """The commands that came within the time."""
        if select.select([self._fd], [], [], timeout_s)[0]:
            chunk = os.read(self._fd, MAX_COMMAND_BYTES)
            self._rest += chunk
            self.ended = not chunk or len(self._rest) > MAX_COMMAND_BYTES
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]


def _replace(table: Any, entries: dict[bytes, int]) -> None:
    """Makes a hash table of the program hold just these entries; those that stay are never missing."""
    for key in list(table.keys()):
        if bytes(key) not in entries:
            del table[key]
    for data, value in entries.items():
        table[table.Key.from_buffer_copy(data)] = table.Leaf(value)


def _watch(program: Any, command: dict[str, Any]) -> None:
    roles = dict.fromkeys(command["neighbours"], ROLE_NEIGHBOUR) | dict.fromkeys(command["pods"], ROLE_POD)
    _replace(program["watched_netns"], {struct.pack("=I", inode): role for inode, role in roles.items()})
    _replace(program["watched_address"], {pack_address(text): 1 for text in command["addresses"]})
    program.ring_buffer_consume()  # what was seen before the change is told before its acknowledgement
    _say({"watching": len(command["pods"])})


def _load(command: dict[str, Any]) -> Any:
    """Compiles and attaches; from here on events arrive in the ring, of nothing until something is watched."""
    from bcc import BPF  # type: ignore[import-not-found] # Debian's, for the system's Python alone

    program = BPF(src_file=command["program"], cflags=command["flags"])

    def tell(_context: Any, data: int, size: int) -> None:
        _say(decode(ctypes.string_at(data, size)))

    program["events"].open_ring_buffer(tell)
    return program


def _observe(program: Any, received: list[dict[str, Any]], commands: _Commands) -> None:
    lost = 0
    while not commands.ended:
        for command in received:
            _watch(program, command)
        sys.stdout.flush()
        received = commands.take(0)
        program.ring_buffer_poll(POLL_MS)
        now_lost = program["lost"][0].value
        if now_lost != lost:
            lost = now_lost
            _say({"lost": lost})


def main() -> int:
    """Runs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; this process then sees its input end
    commands = _Commands(sys.stdin.fileno())
    received: list[dict[str, Any]] = []
    while not received and not commands.ended:
        received = commands.take(1)
    if not received:
        return 0
    start, *rest = received
    _die_with(start["parent"])
    try:
        program = _load(start)
    except Exception as error:  # noqa: BLE001 # bcc raises nothing narrower
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        _observe(program, rest, commands)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the parent is gone: nothing to flush to
    return 0


if __name__ == "__main__":
    sys.exit(main())
