"""A pod and a peer across a router-less wire: two network namespaces, each with addresses of both families."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from daemonset.capture.kernel import Site
from daemonset.capture.namespace import inside

_T = TypeVar("_T")
_numbers = itertools.count()
BPFFS = Path("/sys/fs/bpf/ambient-tests")
# Source: docs/runtime.md; what ztunnel's sockets carry.
MARK = 0x539
SO_MARK = 36
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Namespace:
    """One end of the wire."""

    name: str
    netns: int
    ipv4: str
    ipv6: str

    def address(self, family: socket.AddressFamily) -> str:
        return self.ipv6 if family == socket.AF_INET6 else self.ipv4

    def run(self, work: Callable[[], _T]) -> _T:
        return inside(self.netns, work)

    def shell(self, script: str) -> str:
        command = ["ip", "netns", "exec", self.name, "bash", "-euc", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True, slots=True)
class Ground:
    """The pod that is captured, and the peer that it talks with."""

    pod: Namespace
    peer: Namespace
    site: Site


@contextlib.contextmanager
def make_ground() -> Iterator[Ground]:
    """Makes both namespaces and removes them, and every pin, at the end."""
    prefix = f"cap{os.getpid()}-{next(_numbers)}"
    names = [f"{prefix}-pod", f"{prefix}-peer"]
    pins = BPFFS / prefix
    try:
        _wire(*names)
        fds = [os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
        try:
            pod, peer = (Namespace(name, fd, f"10.98.0.{n}", f"fd98::{n}") for n, (name, fd) in enumerate(zip(names, fds, strict=True), 1))
            yield Ground(pod, peer, Site("test/pod", pod.netns, pins))
        finally:
            for fd in fds:
                os.close(fd)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        shutil.rmtree(pins, ignore_errors=True)


def _wire(pod: str, peer: str) -> None:
    script = f"ip netns add {pod}; ip netns add {peer}\n"
    # Addresses may be used at once: no search for duplicates.
    script += "".join(f"ip netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0\n" for name in (pod, peer))
    script += f"ip link add eth0 netns {pod} type veth peer name eth0 netns {peer}\n"
    for number, name in enumerate((pod, peer), 1):
        script += f"""
ip -n {name} link set lo up; ip -n {name} link set eth0 up
ip -n {name} addr add 10.98.0.{number}/24 dev eth0; ip -n {name} addr add fd98::{number}/64 dev eth0 nodad
"""
    # Strict reverse-path checks: the harder case.
    script += f"""
ip netns exec {pod} sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
ip -n {pod} route add default via 10.98.0.2; ip -n {pod} -6 route add default via fd98::2
"""
    subprocess.run(["bash", "-euc", script], check=True)


def tcp(family: socket.AddressFamily, *, mark: int = 0, transparent: bool = False) -> socket.socket:
    """A TCP socket in the calling thread's namespace that waits, bounded."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(WAIT_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    if transparent:
        level, option = (socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if family == socket.AF_INET6 else (socket.IPPROTO_IP, IP_TRANSPARENT)
        sock.setsockopt(level, option, 1)
    return sock


def snapshot(pod: Namespace) -> str:
    """Everything of the namespace that capture may change, as the node's own tools print it."""
    return pod.shell(
        """
ip rule; ip -6 rule; ip route show table all; ip -6 route show table all | grep -v '^multicast\\|^anycast'
iptables-nft-save | grep -v '^#' || true; ip6tables-nft-save | grep -v '^#' || true
nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*//'
tc qdisc show; tc filter show dev lo ingress; tc filter show dev lo egress
grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf 2>/dev/null | grep -v 'stable_secret\\|lo/'
cat /proc/sys/net/ipv4/tcp_fwmark_accept
"""
    )
