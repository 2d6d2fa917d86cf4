"""Named network namespaces, as `ip netns` keeps them, and work done inside of one."""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyroute2 import netns as pyroute2_netns  # type: ignore[import-untyped]

from lab.layout import NETNS_DIR

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000

Result = TypeVar("Result")
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, step: str) -> None:
    """Raises OSError for a libc call that failed."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{step}: {os.strerror(error)}")


def netns_path(name: str) -> Path:
    return NETNS_DIR / name


def create_netns(name: str) -> None:
    """Raises OSError: it exists already, or we may not."""
    pyroute2_netns.create(name)


def delete_netns(name: str) -> None:
    """Takes the name away; the namespace itself goes with its last process. Nothing happens when there is none."""
    try:
        pyroute2_netns.remove(name)
    except FileNotFoundError:
        pass
    except OSError:
        # A name whose namespace was never mounted, or was unmounted already: an empty file.
        netns_path(name).unlink(missing_ok=True)


def netns_inode(name: str) -> int | None:
    """The number by which the kernel knows the namespace; None: there is none of that name, or the name has lost its namespace."""
    try:
        found = netns_path(name).stat()
    except FileNotFoundError:
        return None
    return found.st_ino if found.st_dev == Path("/proc/self/ns/net").stat().st_dev else None


def inside(name: str, work: Callable[[], Result]) -> Result:
    """Runs `work` in a thread of its own that lives in the namespace; the sockets that it opens stay there.

    Raises:
        OSError: the namespace cannot be entered; and whatever `work` raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter(netns_path(name))
            results.append(work())
        except BaseException as error:  # noqa: BLE001 it is raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body, name=f"inside {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def enter(path: Path) -> None:
    """Moves the calling thread into a network namespace, for good."""
    with path.open("rb") as namespace:
        check(libc.setns(namespace.fileno(), CLONE_NEWNET), f"enter {path}")


def set_sysctls(name: str, settings: dict[str, str]) -> None:
    """Writes settings below /proc/sys/net in a namespace; one that this kernel does not have is not needed there."""

    def write() -> None:
        for key, value in settings.items():
            path = Path("/proc/sys/net") / key
            if path.exists():
                path.write_text(value)

    inside(name, write)
