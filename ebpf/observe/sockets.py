"""The TCP sockets that a network namespace has now: the connections that were opened before anyone looked."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_TCP
from typing import Any

from pyroute2 import DiagSocket, netns  # type: ignore[import-untyped]
from pyroute2.netlink.diag import SS_CONN  # type: ignore[import-untyped]

from ebpf.observe.connection import Connection
from ebpf.observe.events import AGREED_STATES, socket_address
from ebpf.observe.process import STATES

# The extension that tells the round-trip time and retransmits. Source: include/uapi/linux/inet_diag.h, INET_DIAG_INFO = 2.
_EXTENSION_INFO = 1 << (2 - 1)


def open_connections(namespace: Path, now_ns: int) -> tuple[Connection, ...]:
    """The connections of a network namespace, as sock_diag tells them.

    Args:
        namespace: file of the namespace.
        now_ns: of CLOCK_MONOTONIC; they count as opened then.
    Raises:
        OSError: the namespace is gone, or may not be entered.
    """
    found: list[Connection] = []
    failures: list[BaseException] = []

    def inside() -> None:
        # Only a thread can be in another namespace than its process; it ends there.
        try:
            with namespace.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                netns.setns(file)
            with DiagSocket() as diag:
                diag.bind()
                for family in (AF_INET, AF_INET6):
                    messages = diag.get_sock_stats(family=family, states=SS_CONN, protocol=IPPROTO_TCP, extensions=_EXTENSION_INFO)
                    found.extend(_connections(messages, inode, now_ns))
        except BaseException as error:  # noqa: BLE001 # raised again by the caller's thread
            failures.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return tuple(found)


def _connections(messages: Any, inode: int, now_ns: int) -> Iterator[Connection]:
    for message in messages:
        info = message.get_attr("INET_DIAG_INFO")
        state = STATES[message["idiag_state"]]
        yield Connection(
            netns=inode,
            local=socket_address(message["idiag_src"], message["idiag_sport"]),
            remote=socket_address(message["idiag_dst"], message["idiag_dport"]),
            opened_ns=now_ns,
            changed_ns=now_ns,
            state=state,
            mark=_mark(message.get_attr("INET_DIAG_MARK")),
            rtt_us=info["tcpi_rtt"] if info else 0,
            retransmits=info["tcpi_total_retrans"] if info else 0,
            agreed_ns=now_ns if state in AGREED_STATES else None,
        )


def _mark(attribute: str | None) -> int:
    """pyroute2 gives what it does not know as "39:05:00:00"; the mark is in the machine's byte order."""
    return int.from_bytes(bytes.fromhex(attribute.replace(":", "")), "little") if attribute else 0
