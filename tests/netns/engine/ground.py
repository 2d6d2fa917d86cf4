"""Pods without a mesh: network namespaces on one bridge, of which some are captured as the node agent would."""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# REDIRECT by nftables: the least that meets the capture contract of docs/runtime.md with the marks of the ecosystem. What the
# engine sends to the application from a client's address comes back to it by connmark 0x111 and table 100.
CAPTURE = """
table inet capture {
  chain redirect_out {
    type nat hook output priority -100; policy accept;
    oifname != "lo" meta mark and 0xfff != 0x539 meta l4proto tcp redirect to :15001
  }
  chain redirect_in {
    type nat hook prerouting priority -100; policy accept;
    iifname != "lo" tcp dport != 15008 redirect to :15006
  }
  chain remember {
    type filter hook prerouting priority -150; policy accept;
    meta mark and 0xfff == 0x539 ct mark set 0x111
  }
  chain recall {
    type route hook output priority -150; policy accept;
    ct mark 0x111 meta mark and 0xfff != 0x539 meta mark set 0x111
  }
}
"""


@dataclass(frozen=True, slots=True)
class Pod:
    """A namespace with one address of each family."""

    netns: str
    ipv4: str
    ipv6: str

    def address(self, family: socket.AddressFamily) -> str:
        return self.ipv6 if family == socket.AF_INET6 else self.ipv4

    def open_netns(self) -> int:
        """A file descriptor of the namespace, for the caller to own."""
        return os.open(f"/run/netns/{self.netns}", os.O_RDONLY | os.O_CLOEXEC)

    def socket(self, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking TCP socket that lives in the pod."""
        with _thread_inside(self.open_netns()):
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


@dataclass(frozen=True, slots=True)
class Ground:
    """The pods: `client`, `server` and `second` are captured, `outside` is not."""

    client: Pod
    server: Pod
    second: Pod
    outside: Pod

    def forget_connections(self) -> None:
        """Empties conntrack: what it remembers of earlier tests would redirect a connection with the same port, or change its port."""
        for pod in (self.client, self.server, self.second):
            with _thread_inside(pod.open_netns()):
                for family in (socket.AF_INET, socket.AF_INET6):
                    with NFCTSocket(nfgen_family=family) as conntrack:
                        conntrack.flush()


@contextlib.contextmanager
def make_ground(prefix: str) -> Iterator[Ground]:
    """Makes all namespaces and removes them at the end, whatever happens. `prefix` keeps parallel runs apart."""
    names = ["client", "server", "second", "outside"]
    pods = [Pod(f"{prefix}-{name}", f"10.97.0.{number}", f"fd97::{number}") for number, name in enumerate(names, 1)]
    switch = f"{prefix}-switch"
    try:
        _run(_switch(switch))
        for number, pod in enumerate(pods, 1):
            _run(_pod(pod, switch, f"port{number}"))
        for pod in pods[:3]:
            _run(_steering(pod))
            _run(f"ip netns exec {pod.netns} nft -f -", CAPTURE)
        yield Ground(*pods)
    finally:
        for name in [switch, *(pod.netns for pod in pods)]:
            if Path(f"/run/netns/{name}").exists():
                _run(f"ip netns del {name}")


def _switch(name: str) -> str:
    return f"""
ip netns add {name}
ip -n {name} link add switch type bridge
ip -n {name} link set switch up
"""


def _pod(pod: Pod, switch: str, port: str) -> str:
    """Nodad: an address may be used at once."""
    return f"""
ip netns add {pod.netns}
ip link add eth0 netns {pod.netns} type veth peer name {port} netns {switch}
ip -n {switch} link set {port} master switch up
ip -n {pod.netns} link set lo up
ip -n {pod.netns} link set eth0 up
ip -n {pod.netns} addr add {pod.ipv4}/24 dev eth0
ip -n {pod.netns} addr add {pod.ipv6}/64 dev eth0 nodad
"""


def _steering(pod: Pod) -> str:
    return f"""
ip -n {pod.netns} rule add fwmark 0x111/0xfff lookup 100
ip -n {pod.netns} route add local 0.0.0.0/0 dev lo table 100
ip -n {pod.netns} -6 rule add fwmark 0x111/0xfff lookup 100
ip -n {pod.netns} -6 route add local ::/0 dev lo table 100
"""


@contextlib.contextmanager
def _thread_inside(netns: int) -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(netns)
        yield
    finally:
        _enter(home)
        os.close(home)
        os.close(netns)


def _enter(netns: int) -> None:
    if _libc.setns(netns, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(script: str, text: str = "") -> None:
    result = subprocess.run(["bash", "-euc", script], input=text, text=True, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{script}{text}: {result.stderr}")
