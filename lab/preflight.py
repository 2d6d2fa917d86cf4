"""What the lab needs of the machine, tried rather than guessed; each lack is one line with what to do."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from daemonset.capture.preflight import preflight
from lab import nftables
from lab.endpoints import VirtualPort
from lab.errors import LabError
from lab.netns import CLONE_NEWNET, check, libc
from lab.options import Options
from mesh.model import SocketAddress

# What is called by name, and the Debian package that brings it.
_PROGRAMS = {"nft": "nftables", "nsenter": "util-linux", "setpriv": "util-linux", "tail": "coreutils"}

_IPV6 = Path("/proc/sys/net/ipv6")
# One of each kind of rule.
_EXAMPLE = tuple(
    VirtualPort(f"default/{name}", ip_address(address), "TCP", 80, (SocketAddress(ip_address(address), 8080),), sticky)
    for name, address, sticky in (("random", "10.96.0.1", False), ("sticky", "10.96.0.2", True), ("v6", "fd00:10:96::1", False))
)


def require(options: Options | None) -> None:
    """Checks the machine; without options only what every command of the lab needs.

    Raises:
        LabError: a line for each lack.
    """
    lacks = _lacks_root() or (_lacks_of_lab(options) if options is not None else [])
    if lacks:
        raise LabError("\n".join(lacks))


def _lacks_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["not root: namespaces, interfaces and rules need it; run the same with sudo"]


def _lacks_of_lab(options: Options) -> list[str]:
    missing = [f"no program {name}: apt-get install {package}" for name, package in _PROGRAMS.items() if shutil.which(name) is None]
    lacks = missing or [lack for lack in (_lacks_ipv6(), _lacks_netns(), _lacks_links(), _lacks_nft()) if lack]
    return lacks + (preflight(options.capture) if options.mesh else [])


def _lacks_ipv6() -> str:
    return "" if _IPV6.exists() else "no IPv6: the kernel needs CONFIG_IPV6, and no ipv6.disable=1 on its command line"


def _lacks_netns() -> str:
    try:
        _in_fresh_netns(lambda: None)
    except OSError as error:
        return f"no network namespaces ({error.strerror}): the kernel needs CONFIG_NET_NS, and a container the capability CAP_SYS_ADMIN"
    return ""


def _lacks_links() -> str:
    def work() -> None:
        with IPRoute() as ip:
            ip.link("add", ifname="bridge", kind="bridge")
            ip.link("add", ifname="veth", kind="veth", peer="peer")

    try:
        _in_fresh_netns(work)
    except (NetlinkError, OSError) as error:
        return f"no bridges or veth pairs ({error}): the kernel needs CONFIG_BRIDGE and CONFIG_VETH; try `modprobe bridge veth`"
    return ""


def _lacks_nft() -> str:
    command = ["/usr/bin/unshare", "--net", "nft", "--file", "-"]
    done = subprocess.run(command, input=nftables.render(_EXAMPLE), text=True, capture_output=True, check=False)
    if done.returncode == 0:
        return ""
    reason = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"status {done.returncode}"
    return f"nftables cannot balance services ({reason}): the kernel needs CONFIG_NF_TABLES_INET, NFT_NAT, NFT_NUMGEN, NFT_HASH, NFT_REJECT"


def _in_fresh_netns(work: Callable[[], None]) -> None:
    """Runs `work` in a thread with a network namespace of its own, which goes with it; raises what `work` raises, and OSError."""
    errors: list[BaseException] = []

    def body() -> None:
        try:
            check(libc.unshare(CLONE_NEWNET), "make a network namespace")
            work()
        except BaseException as error:  # noqa: BLE001 it is raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
