"""Starts the programs of a measurement in network namespaces, and looks at them through /proc."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

READY_TIMEOUT_S = 20
# How long a program may take to end after SIGTERM; Envoy and nginx need well under a second.
STOP_TIMEOUT_S = 5
LISTEN = "0A"  # state of a listening socket in /proc/net/tcp (include/net/tcp_states.h)


class NotReady(Exception):
    """A program ended, or did not listen in time."""


@contextlib.contextmanager
def running(command: list[str], log: Path, netns: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program (in a namespace, where one is named) until the block ends; its output goes to `log`."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    with log.open("wb") as output:
        process = subprocess.Popen([*inside, *command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_listener(process: subprocess.Popen[bytes], log: Path, netns: str, *ports: int) -> None:
    """Waits until all ports are listened on in the namespace.

    Raises:
        NotReady: with the end of the program's log.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not set(ports) <= listening_ports(netns):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotReady(f"{process.args!r}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def listening_ports(netns: str) -> set[int]:
    """Ports of the listening TCP sockets of a namespace."""
    tables = subprocess.run(
        ["ip", "netns", "exec", netns, "cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=False
    ).stdout
    fields = (line.split() for line in tables.splitlines())
    return {int(field[1].rpartition(":")[2], 16) for field in fields if len(field) > 3 and field[3] == LISTEN}


def resident_mb(pid: int) -> float:
    """VmRSS of a process in MB (1 MB = 1,000,000 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6
