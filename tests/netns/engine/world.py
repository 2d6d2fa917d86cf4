"""What a contract test gets: pods, engines on two nodes, and the four ways that a connection can take through them."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.netns.engine.certificates import Authority
from tests.netns.engine.ground import Ground, Pod
from tests.netns.engine.peers import Connection, Listener, Peers, poll
from tests.netns.engine.shell import Rule, Shell, endpoint, to_authority
from ztunnel.engine.interface import Decision, Direct, Direction, Flow, Local, Tunnel

CLIENT_ID = "spiffe://cluster.local/ns/default/sa/client"
SERVER_ID = "spiffe://cluster.local/ns/default/sa/server"
# Numbers of pods and reports, as a shell would choose them: anything but small and equal.
CLIENT_POD, SERVER_POD, SECOND_POD = 11, 22, 33
OUTBOUND_REPORT, INBOUND_REPORT = 1001, 2002
HBONE_PORT = int(Direction.INBOUND_HBONE)
APP_PORT = 8080


@dataclass(frozen=True, slots=True)
class Way:
    """A client, a server, and what is between them.

    Args:
        opening: the shell that reports the connection where it is opened.
        accepting: the shell that reports it where it arrives; the same one where there is one hop.
    """

    client: Pod
    server: Pod
    family: socket.AddressFamily
    opening: Shell
    opening_report: int
    accepting: Shell
    accepting_report: int

    @property
    def shells(self) -> tuple[Shell, ...]:
        return (self.opening,) if self.opening is self.accepting else (self.opening, self.accepting)


@dataclass(slots=True)
class World:
    """Enter it inside a running loop; when it is left, everything is stopped and nothing may be left over."""

    ground: Ground
    engine_name: str
    authority: Authority
    peers: Peers = field(init=False)
    _shells: list[Shell] = field(default_factory=list)
    _fds_before: set[str] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await _first_stream()
        await asyncio.to_thread(self.ground.forget_connections)
        self._fds_before = _open_fds()
        self.peers = Peers()
        return self

    async def __aexit__(self, error_type: object, error: object, traceback: object) -> None:
        await self.peers.close()
        for shell in self._shells:
            await shell.stop(0)
        if error_type is None:
            await self._expect_nothing_left()

    async def _expect_nothing_left(self) -> None:
        for shell in self._shells:
            state = shell.engine.state()
            assert (state.pods, state.connections, state.tunnels, state.buffered_bytes) == (0, 0, 0, 0), state
        # The event loop closes what it watched a turn or two later.
        await poll(lambda: not self._leaked(), f"closed descriptors; left are {self._leaked()}")

    def _leaked(self) -> set[str]:
        return _open_fds() - self._fds_before

    def shell(self, rule: Rule = lambda flow: None) -> Shell:
        """A new engine, without pods."""
        shell = Shell(self.engine_name, rule)
        self._shells.append(shell)
        return shell

    def add_client_pod(self, shell: Shell) -> None:
        self._add(shell, CLIENT_POD, self.ground.client, CLIENT_ID)

    def add_server_pod(self, shell: Shell) -> None:
        self._add(shell, SERVER_POD, self.ground.server, SERVER_ID)

    def add_second_pod(self, shell: Shell) -> None:
        self._add(shell, SECOND_POD, self.ground.second, CLIENT_ID)

    def _add(self, shell: Shell, number: int, pod: Pod, identity: str) -> None:
        shell.engine.set_credentials(identity, self.authority.issue(identity))
        shell.engine.add_pod(number, pod.open_netns(), identity)

    def client_node(self, rule: Rule) -> Shell:
        """An engine with the client's pod."""
        shell = self.shell(rule)
        self.add_client_pod(shell)
        return shell

    def server_node(self, rule: Rule | None = None) -> Shell:
        """An engine with the server's pod; by default it lets every tunnel through."""
        shell = self.shell(rule or to_authority(INBOUND_REPORT))
        self.add_server_pod(shell)
        return shell

    def way(self, name: str, family: socket.AddressFamily = socket.AF_INET) -> Way:
        """Sets up the engines of "tunnel", "local", "direct" or "plaintext"."""
        ways = {"tunnel": self._tunnel, "local": self._local, "direct": self._direct, "plaintext": self._plaintext}
        return ways[name](family)

    def _tunnel(self, family: socket.AddressFamily) -> Way:
        """Captured on both sides, on two nodes."""
        opening, accepting = self.client_node(through_tunnel), self.server_node()
        pods = self.ground.client, self.ground.server
        return Way(*pods, family, opening, OUTBOUND_REPORT, accepting, INBOUND_REPORT)

    def _local(self, family: socket.AddressFamily) -> Way:
        """Captured on both sides, on one node."""
        shell = self.client_node(lambda flow: Decision((Local(SERVER_POD, endpoint(flow.destination), OUTBOUND_REPORT, INBOUND_REPORT),)))
        self.add_server_pod(shell)
        pods = self.ground.client, self.ground.server
        return Way(*pods, family, shell, OUTBOUND_REPORT, shell, INBOUND_REPORT)

    def _direct(self, family: socket.AddressFamily) -> Way:
        """Only the client is captured."""
        shell = self.client_node(lambda flow: Decision((Direct(endpoint(flow.destination), False, OUTBOUND_REPORT),)))
        pods = self.ground.client, self.ground.outside
        return Way(*pods, family, shell, OUTBOUND_REPORT, shell, OUTBOUND_REPORT)

    def _plaintext(self, family: socket.AddressFamily) -> Way:
        """Only the server is captured."""
        shell = self.server_node()
        pods = self.ground.outside, self.ground.server
        return Way(*pods, family, shell, INBOUND_REPORT, shell, INBOUND_REPORT)

    def listen(self, way: Way, port: int = APP_PORT) -> Listener:
        return self.peers.listen(way.server, way.family, port)

    async def connect(self, way: Way, port: int = APP_PORT) -> Connection:
        return await self.peers.connect(way.client, way.server.address(way.family), port)

    async def connected(self, way: Way) -> tuple[Connection, Connection]:
        """Both ends of a connection: the client's and the server's."""
        listener = self.listen(way)
        client = await self.connect(way)
        return client, await listener.accept()


def through_tunnel(flow: Flow) -> Decision:
    """Outbound: a tunnel to the address that was asked for, to the server's identity."""
    return Decision((tunnel_to(endpoint(flow.destination)[0], flow.destination),))


def tunnel_to(address: str, authority: str, *, port: int = HBONE_PORT, peer_identities: tuple[str, ...] = (SERVER_ID,)) -> Tunnel:
    return Tunnel((address, port), authority, (), CLIENT_ID, peer_identities, OUTBOUND_REPORT)


async def _first_stream() -> None:
    """Makes the loop open the descriptor that libuv keeps in reserve from its first stream on."""
    ours, other = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    other.close()
    writer.close()
    await writer.wait_closed()


def _open_fds() -> set[str]:
    """What is open, each as "descriptor target"."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the directory that is being read
            found.add(f"{link.name} {link.readlink()}")
    return found
