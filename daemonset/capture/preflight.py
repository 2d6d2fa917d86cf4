"""Whether this machine can capture in a mode: tried on a namespace of its own rather than guessed from a kernel's version."""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from daemonset.capture.apply import apply, undo, verify
from daemonset.capture.chains import commands
from daemonset.capture.items import Device, Mode, Phase, Survey
from daemonset.capture.kernel import Site
from daemonset.capture.namespace import fresh_netns, inside
from daemonset.capture.plan import plan_capture
from daemonset.mounts import mount_bpffs
from ebpf import libbpf, pins
from ebpf.sockets import SocketWalker
from mesh.errors import CaptureError
from mesh.model import IPAddress

_BTF = Path("/sys/kernel/btf/vmlinux")
_ADVICE = {
    Mode.EBPF: "capture by eBPF needs Linux 5.17 with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and CONFIG_IP_MULTIPLE_TABLES; "
    "or capture by iptables",
    Mode.IPTABLES: "capture by iptables needs CONFIG_NF_NAT, CONFIG_NETFILTER_XT_TARGET_REDIRECT, XT_TARGET_CONNMARK, XT_MATCH_CONNMARK, "
    "XT_MATCH_MARK and CONFIG_IP_MULTIPLE_TABLES; try `modprobe ip_tables xt_REDIRECT xt_connmark`, or capture by eBPF",
}
# Addresses for documentation (RFC 5737, RFC 3849); nothing is ever sent.
_ADDRESSES: Mapping[int, IPAddress] = {4: IPv4Address("192.0.2.1"), 6: IPv6Address("2001:db8::1")}
_MNT_DETACH = 2
_LOOPBACK_INDEX = 1


def preflight(mode: str) -> list[str]:
    """Names what capture lacks on this machine, each with what to do; empty: all is there.

    Args:
        mode: "ebpf" or "iptables".
    """
    wanted = Mode(mode)
    if os.geteuid() != 0:
        return ["not root: capture enters other network namespaces; run the same with sudo"]
    lacks = _lacks_of_ebpf() if wanted is Mode.EBPF else _lacks_of_iptables()
    return lacks or _try(wanted)


def _lacks_of_ebpf() -> list[str]:
    lacks = []
    if not libbpf.available():
        lacks.append("no libbpf.so.1: apt-get install libbpf1")
    lacks += [
        f"no compiled program {name}: install clang and libbpf-dev, and build the package again (python hatch_build.py)"
        for name in ("capture.bpf.o", "sockets.bpf.o")
        if not (pins.OBJECTS / name).exists()
    ]
    if not _BTF.exists():
        lacks.append("the kernel describes no types (/sys/kernel/btf): it needs CONFIG_DEBUG_INFO_BTF; or capture by iptables")
    return lacks


def _lacks_of_iptables() -> list[str]:
    return [f"no program {name}: apt-get install {package}" for name, package in commands().items() if shutil.which(name) is None]


def _try(mode: Mode) -> list[str]:
    """Captures an empty namespace, verifies, and undoes it."""
    walker = None
    try:
        with _playground() as site:
            walker = SocketWalker() if mode is Mode.EBPF else None
            plan = plan_capture(mode, Phase.CAPTURE, _prepare(site))
            apply(site, plan, walker)
            differences = [f"capture does not hold ({finding}): {_ADVICE[mode]}" for finding in verify(site, plan)]
            undo(site, walker)
    except PermissionError as error:
        return [f"capture may not be set up ({error}): a container needs the capabilities SYS_ADMIN, NET_ADMIN and BPF"]
    except (CaptureError, OSError) as error:
        return [f"capture does not work here ({str(error).splitlines()[0]}): {_ADVICE[mode]}"]
    finally:
        if walker:
            walker.close()
    return differences


@contextmanager
def _playground() -> Iterator[Site]:
    """A network namespace and a BPF file system that end with it."""
    netns = fresh_netns()
    directory = Path(tempfile.mkdtemp(prefix="ambient-preflight-"))
    try:
        mount_bpffs(directory)
        yield Site("a namespace to try", netns, directory / "pins")
    finally:
        os.close(netns)
        ctypes.CDLL(None).umount2(os.fsencode(directory), _MNT_DETACH)
        directory.rmdir()


def _prepare(site: Site) -> Survey:
    """Gives the namespace a device with an address of each family that the kernel has."""

    def work() -> Survey:
        addresses: list[IPAddress] = []
        with IPRoute() as netlink:
            netlink.link("add", ifname="eth0", kind="veth", peer="peer")
            index = netlink.link_lookup(ifname="eth0")[0]
            for number in (_LOOPBACK_INDEX, index):
                netlink.link("set", index=number, state="up")
            for family, address in _ADDRESSES.items():
                try:
                    netlink.addr("add", index=index, address=str(address), prefixlen=24 if family == 4 else 64)
                    addresses.append(address)
                except NetlinkError:
                    if family == 4:
                        raise
        return Survey((Device("eth0", tuple(addresses)),))

    try:
        return inside(site.netns, work)
    except NetlinkError as error:
        raise OSError(error.code, f"make a veth pair: {error}") from error
