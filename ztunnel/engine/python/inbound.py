"""Accepting tunnels and delivering their streams to the pod's application."""

from typing import TYPE_CHECKING

from ztunnel.engine.interface import Cause, Direct, Direction, Endpoint, Reject
from ztunnel.engine.python import sockets
from ztunnel.engine.python.channel import Channel
from ztunnel.engine.python.credentials import Contexts
from ztunnel.engine.python.dialling import Dial
from ztunnel.engine.python.flows import Choice
from ztunnel.engine.python.sockets import Socket
from ztunnel.engine.python.stream_relay import StreamRelay
from ztunnel.engine.python.tunnel import HANDSHAKE_TIMEOUT_S, Tunnel
from ztunnel.hbone import ConnectionFailed, ConnectRequested, ErrorCode, Event, Rejected, Role, Stream

if TYPE_CHECKING:
    from ztunnel.engine.python.core import Core, Pod

OK = 200
# The gateway could not reach the application (RFC 9110 section 15.6.4; what the ecosystem's proxies answer).
SERVICE_UNAVAILABLE = 503


class InboundTunnel(Tunnel):
    """The end that accepts. Until the peer has proved who it is, it may neither take long nor say much."""

    def __init__(self, core: "Core", pod: "Pod", sock: Socket, address: Endpoint, contexts: Contexts) -> None:
        super().__init__(core, Role.SERVER)
        self.pod = pod
        self.address = address
        self.address_text = sockets.text(*address)
        self.revocations = contexts.revocations
        self._bucket = core.reactor.deadlines.set(HANDSHAKE_TIMEOUT_S, self)
        pod.tunnels.add(self)
        core.handshakes += 1
        pod.handshakes += 1
        self._shaking = True
        self._draining = False
        self.channel = Channel(core.reactor, sock, contexts.server, self, server_side=True)

    def start(self) -> None:
        if self.channel is not None:
            self.channel.start()

    def on_peer(self) -> None:
        self._core.reactor.deadlines.cancel(self._bucket, self)
        self._shaken()

    def _shaken(self) -> None:
        if self._shaking:
            self._shaking = False
            self._core.handshakes -= 1
            self.pod.handshakes -= 1

    def expire(self) -> None:
        if self._shaking:
            self.fail(Cause.TLS_FAILURE, "the TLS handshake took too long")
            return
        super().expire()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ConnectRequested):
            relay = InboundRelay(self._core, self, event.stream)
            event.stream.owner = relay
            relay.ask(event.authority)
        elif isinstance(event, Rejected):
            self.refused(Cause.H2_FAILURE, f"stream {event.stream_id}: {event.reason}")
        else:
            if isinstance(event, ConnectionFailed):
                self.refused(Cause.H2_FAILURE, f"{ErrorCode.name_of(event.code)}: {event.reason}")
            super()._on_event(event)

    def fail(self, cause: Cause, detail: str) -> None:
        if not self.closed and not self.peer:
            self.refused(cause, detail)
        super().fail(cause, detail)

    def refused(self, cause: Cause, detail: str) -> None:
        """Tells of something that the peer is denied before it became a connection."""
        self._core.ledger.refused(self.pod.number, Direction.INBOUND_HBONE, self.address_text, cause, detail)

    def drain(self) -> None:
        """Takes no new streams, closes when the last one ended."""
        self._draining = True
        self.http2.go_away(ErrorCode.NO_ERROR)
        self.queued(0)
        self.on_stream_gone()

    def on_stream_gone(self) -> None:
        if self._draining and not self.http2.streams:
            self.close()

    def on_closed(self) -> None:
        self._shaken()
        self.pod.tunnels.discard(self)
        self._core.pod_may_be_gone(self.pod)


class InboundRelay(StreamRelay):
    """A stream on its way to the application."""

    __slots__ = ("_dial", "_pod")

    tunnel: InboundTunnel
    socket_reset = Cause.SERVER_RESET
    stream_reset = Cause.CLIENT_RESET

    def __init__(self, core: "Core", tunnel: InboundTunnel, stream: Stream) -> None:
        super().__init__(core, tunnel.address_text, tunnel.peer, core.reactor.now())
        self.tunnel = tunnel
        self.stream = stream
        self._pod = tunnel.pod
        self._dial: Dial | None = None

    def count(self, from_socket: int, from_stream: int) -> None:
        self.sent_bytes += from_stream
        self.received_bytes += from_socket

    def ask(self, authority: str) -> None:
        """Asks where this goes, and whether it may."""
        tunnel = self.tunnel
        key = (self._pod.number, Direction.INBOUND_HBONE, tunnel.address[0], authority, tunnel.peer)
        self._core.add_relay(self, None, self._pod)
        if not self._core.flows.ask(key, self):
            self._refuse(SERVICE_UNAVAILABLE, Cause.OVERLOADED, "too many connections wait for a decision")

    def chosen(self, choice: Choice) -> None:
        action = choice.action
        if self.over:
            return
        self.reports = choice.reports
        if isinstance(action, Direct):
            self.live = choice.live
            self.next_hop = choice.next_hop
            self._dial = Dial(self._core.reactor, self._on_connected, self._on_dial_failed)
            self._dial.start(self._pod.stock, action.next_hop, self.tunnel.address[0] if action.keep_source else "", far=False)
        elif isinstance(action, Reject):
            self._refuse(action.status, action.cause, action.detail)
        else:
            raise AssertionError(f"an inbound stream cannot be answered with {action}")

    def gave_up(self, cause: Cause) -> None:
        self._refuse(SERVICE_UNAVAILABLE, cause, "no decision")

    def _on_connected(self, sock: Socket) -> None:
        self._dial = None
        if self.stream is None:
            sockets.abort(sock)
            return
        self.tunnel.http2.answer(self.stream, OK)
        self.tunnel.queued(0)
        self._core.ledger.opened(self)
        self.attach(sock)

    def _on_dial_failed(self, cause: Cause, detail: str) -> None:
        self._dial = None
        self._refuse(SERVICE_UNAVAILABLE, cause, detail)

    def _refuse(self, status: int, cause: Cause, detail: str) -> None:
        if self.stream is not None:
            if not self.reports:
                self.tunnel.refused(cause, detail)
            self.tunnel.http2.answer(self.stream, status)
            self.tunnel.queued(0)
        self.end(cause, detail, reset_stream=ErrorCode.NO_ERROR)

    def end(self, cause: Cause, detail: str, *, abort: bool = True, reset_stream: int = ErrorCode.CANCEL) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        super().end(cause, detail, abort=abort, reset_stream=reset_stream)
