"""Runs code with its thread inside another network namespace. Sockets, netlink and child processes made there stay there."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


def inside(netns: int, work: Callable[[], _T]) -> _T:
    """Runs work() in a thread of its own inside the namespace, and returns or raises what it does.

    Args:
        netns: file descriptor of the namespace.
    Raises:
        OSError: the descriptor is no network namespace, or the privilege (CAP_SYS_ADMIN) is missing.
    """
    outcome: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(netns)
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 it is raised in the caller's thread, which is the one that waits
            errors.append(error)

    thread = threading.Thread(target=run, name=f"netns-{netns}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def _enter(netns: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(netns, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def fresh_netns() -> int:
    """Makes a network namespace that lives as long as the file descriptor that is returned, and what is in it.

    Raises:
        OSError: the kernel has none, or the privilege is missing.
    """
    made: list[int] = []

    def work() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"make a network namespace: {os.strerror(error)}")
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside(own, work)
    finally:
        os.close(own)
    return made[0]
