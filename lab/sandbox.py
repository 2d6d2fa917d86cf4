"""A pod's own view of the machine: its network, its /etc/hosts, its host name; the rest is the machine's."""

import socket
from pathlib import Path

from lab.layout import NETNS_DIR, RUN_DIR
from lab.netns import CLONE_NEWNS, CLONE_NEWUTS, check, enter, libc

_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
# Linux allows 64 bytes; a pod's name may be longer.
_MAX_HOSTNAME = 64


def enter_sandbox(netns: Path, hosts: Path, hostname: str) -> None:
    """Moves this process, and so its children, into the pod. It must have a single thread.

    Raises:
        OSError: with the step that failed.
    """
    enter(netns)
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "make namespaces")
    check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    _drop_copied_mounts()
    # Names without namespaces behind them would make `ip` complain.
    check(libc.mount(b"none", bytes(NETNS_DIR), b"tmpfs", 0, None), f"cover {NETNS_DIR}")
    check(libc.mount(bytes(hosts), b"/etc/hosts", None, _MS_BIND, None), "mount /etc/hosts")
    _hide_name_servers()
    socket.sethostname(hostname[:_MAX_HOSTNAME])


def _hide_name_servers() -> None:
    """The machine's name servers cannot be reached from a pod: an unknown name is to be refused at once, not after a time-out."""
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.exists():
        check(libc.mount(b"/dev/null", bytes(resolver), None, _MS_BIND, None), f"cover {resolver}")


def _drop_copied_mounts() -> None:
    """Unmounts our copies of namespaces' names and of labs' bpffs: they would keep other pods' networks and pins alive after those."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(NETNS_DIR) or mount.startswith(f"{RUN_DIR}/ambient-"):
            libc.umount2(mount.encode(), _MNT_DETACH)
