"""Opening tunnels and sending captured connections through them."""

from typing import TYPE_CHECKING

from ztunnel.engine.interface import Cause
from ztunnel.engine.python import sockets
from ztunnel.engine.python.channel import Channel
from ztunnel.engine.python.dialling import Dial, Stock
from ztunnel.engine.python.flows import Choice, PoolKey
from ztunnel.engine.python.sockets import Socket
from ztunnel.engine.python.stream_relay import StreamRelay
from ztunnel.engine.python.tunnel import HANDSHAKE_TIMEOUT_S, Tunnel
from ztunnel.hbone import ConnectAnswered, ErrorCode, Event, Role, literal_field

if TYPE_CHECKING:
    from ztunnel.engine.python.core import Core

STATUS_OK = 200


class OutboundTunnel(Tunnel):
    """The end that dials; one of a pool."""

    def __init__(self, core: "Core", key: PoolKey) -> None:
        super().__init__(core, Role.CLIENT)
        self.key = key
        self._draining = False
        self._dial: Dial | None = None

    def start(self, stock: Stock) -> None:
        """Begins to connect."""
        if not self.closed:
            self._dial = Dial(self._core.reactor, self._on_connected, self._on_dial_failed)
            self._dial.start(stock, self.key[2], "", far=True)

    def _on_connected(self, sock: Socket) -> None:
        self._dial = None
        contexts = self._core.contexts.get(self.key[0])
        if contexts is None:
            sock.close()
            self.fail(Cause.TLS_FAILURE, f"no credentials for {self.key[0]}")
            return
        self._bucket = self._core.reactor.deadlines.set(HANDSHAKE_TIMEOUT_S, self)
        self.revocations = contexts.revocations
        self.channel = Channel(self._core.reactor, sock, contexts.client, self, server_side=False)
        self.channel.start()

    def _on_dial_failed(self, cause: Cause, detail: str) -> None:
        self._dial = None
        self.fail(cause, f"{sockets.text(*self.key[2])}: {detail}")

    def on_peer(self) -> None:
        self._core.reactor.deadlines.cancel(self._bucket, self)
        expected = self.key[1]
        if expected and self.peer not in expected:
            self.fail(Cause.TLS_FAILURE, f"the peer is {self.peer}, not {' or '.join(expected)}")

    def expire(self) -> None:
        if self.channel is not None and not self.channel.secured:
            self.fail(Cause.TLS_FAILURE, "the TLS handshake took too long")
            return
        super().expire()

    @property
    def usable(self) -> bool:
        return not self._draining and not self.closed and self.http2.can_open()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ConnectAnswered):
            owner = event.stream.owner
            if isinstance(owner, OutboundRelay):
                owner.on_answer(event.status)
            return
        super()._on_event(event)

    def on_go_away(self) -> None:
        if not self.closed:
            self._draining = True
            self._core.pool.set_aside(self)
            self.on_stream_gone()

    def on_stream_gone(self) -> None:
        if self._draining and not self.http2.streams:
            self.close()

    def on_closed(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._core.pool.remove(self)


class Pool:
    """Tunnels by what makes them interchangeable. The first with room is used, so that busy tunnels share their records."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._tunnels: dict[PoolKey, list[OutboundTunnel]] = {}
        # Those that take no new streams and have some left.
        self._aside: set[OutboundTunnel] = set()

    def __len__(self) -> int:
        return len(self._aside) + sum(map(len, self._tunnels.values()))

    def acquire(self, key: PoolKey, stock: Stock) -> OutboundTunnel:
        """A tunnel that takes one more stream; a new one begins to connect at once and takes streams meanwhile."""
        tunnels = self._tunnels.setdefault(key, [])
        for tunnel in tunnels:
            if tunnel.usable:
                return tunnel
        tunnel = OutboundTunnel(self._core, key)
        tunnels.append(tunnel)
        self._core.reactor.soon(tunnel.start, stock)
        return tunnel

    def set_aside(self, tunnel: OutboundTunnel) -> None:
        """It takes no new streams."""
        self.remove(tunnel)
        self._aside.add(tunnel)

    def remove(self, tunnel: OutboundTunnel) -> None:
        self._aside.discard(tunnel)
        tunnels = self._tunnels.get(tunnel.key, [])
        if tunnel in tunnels:
            tunnels.remove(tunnel)
            if not tunnels:
                del self._tunnels[tunnel.key]

    def retire(self, identity: str) -> None:
        """New connections of this identity use new tunnels (its certificate or its trust changed); existing ones go on."""
        for tunnel in self.of(identity):
            tunnel.on_go_away()

    def of(self, identity: str) -> list[OutboundTunnel]:
        """All tunnels that prove this identity."""
        pooled = [tunnel for key, tunnels in self._tunnels.items() if key[0] == identity for tunnel in tunnels]
        return pooled + [tunnel for tunnel in self._aside if tunnel.key[0] == identity]

    def close_pod(self, pod: int) -> None:
        for key in [key for key in self._tunnels if key[3] == pod]:
            for tunnel in list(self._tunnels.get(key, ())):
                tunnel.fail(Cause.DRAINED, "the pod left the mesh")


class OutboundRelay(StreamRelay):
    """A captured connection that leaves through a tunnel. Its first bytes do not wait for the answer to CONNECT."""

    __slots__ = ("_choice", "_stock")

    socket_reset = Cause.CLIENT_RESET
    stream_reset = Cause.SERVER_RESET

    def __init__(self, core: "Core", source: str, started_s: float, choice: Choice, stock: Stock) -> None:
        super().__init__(core, source, "", started_s)
        self._choice = choice
        self._stock = stock
        # What was sent before the answer, to be sent again if the peer says that it did not process the stream.
        self.early = []

    def open(self, sock: Socket) -> None:
        """Opens a stream for an accepted socket."""
        self._open_stream()
        self.attach(sock)

    def _open_stream(self) -> None:
        key = self._choice.pool_key
        if key is None:
            raise AssertionError("an outbound relay needs a tunnel action")
        self.tunnel = tunnel = self._core.pool.acquire(key, self._stock)
        forwarded = literal_field(b"forwarded", f'for="{self.source}"'.encode("ascii"))
        self.stream = tunnel.http2.open_stream(self._choice.block + forwarded, self)
        tunnel.queued(0)

    def count(self, from_socket: int, from_stream: int) -> None:
        self.sent_bytes += from_socket
        self.received_bytes += from_stream

    def on_answer(self, status: int) -> None:
        """The peer answered CONNECT."""
        if status != STATUS_OK:
            self.end(Cause.TUNNEL_REFUSED, f"the peer answered {status}")
            return
        self.early = None
        self.peer = self.tunnel.peer
        self._core.ledger.opened(self)

    def on_stream_reset(self, code: int) -> None:
        early = self.early
        if code == ErrorCode.REFUSED_STREAM and early is not None and self.sock is not None:
            self.early = None
            self._resend(early)
            return
        super().on_stream_reset(code)

    def _resend(self, early: list[bytes]) -> None:
        """The peer did not process the stream (RFC 9113 section 8.7): once more, on another tunnel."""
        self._open_stream()
        stream = self.stream
        if stream is None or self.tunnel.http2.sendable(stream) < sum(map(len, early)):
            self.end(self.stream_reset, "refused by the peer")
            return
        for chunk in early:
            self.tunnel.http2.send_data(stream, chunk)
        if self.socket_ended:
            self.tunnel.http2.end_stream(stream)
        self.tunnel.queued(sum(map(len, early)))
        self.on_window()
