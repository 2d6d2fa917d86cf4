"""Starts the programs of a measurement, and looks at them through /proc."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

READY_TIMEOUT_S = 20
# How long a program may take to end after SIGTERM; Envoy and nginx need well under a second.
STOP_TIMEOUT_S = 5
LISTEN = "0A"  # state of a listening socket in /proc/net/tcp (include/net/tcp_states.h)


class NotReady(Exception):
    """A program ended, or did not listen in time."""


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program until the block ends; its output goes to `log`. Its environment is ours where none is given."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_listener(process: subprocess.Popen[bytes], log: Path, enter: Sequence[str], *ports: int) -> None:
    """Waits until all ports are listened on.

    Args:
        enter: the command that runs a command in the network namespace of the ports.
    Raises:
        NotReady: with the end of the program's log.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not set(ports) <= listening_ports(enter):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotReady(f"{process.args!r}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def listening_ports(enter: Sequence[str]) -> set[int]:
    """Ports of the listening TCP sockets of a namespace."""
    tables = subprocess.run([*enter, "cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=False)
    fields = (line.split() for line in tables.stdout.splitlines())
    return {int(field[1].rpartition(":")[2], 16) for field in fields if len(field) > 3 and field[3] == LISTEN}


def resident_mb(pid: int) -> float:
    """VmRSS of a process in MB (1 MB = 1,000,000 bytes)."""
    return _memory_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """The most that VmRSS ever was."""
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024 / 1e6
