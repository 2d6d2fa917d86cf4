"""An HBONE tunnel: TLS below, HTTP/2 in the middle, relays above. What is the same on both ends of it."""

import ssl
from socket import MSG_MORE
from typing import TYPE_CHECKING

from mesh.errors import CredentialError
from ztunnel.engine.interface import Cause
from ztunnel.engine.python.channel import Channel
from ztunnel.engine.python.credentials import peer_identity
from ztunnel.engine.python.reactor import HEADER_BYTES
from ztunnel.engine.python.revocation import NO_LISTS, Revocations
from ztunnel.hbone import (
    Connection,
    ConnectionFailed,
    Data,
    Ended,
    ErrorCode,
    Event,
    GoAway,
    Pong,
    Reset,
    Role,
    Stream,
    Writable,
)

if TYPE_CHECKING:
    from ztunnel.engine.python.core import Core
    from ztunnel.engine.python.stream_relay import StreamRelay

# Frames that wait for the end of the loop turn; above this, relays stop reading until they are sealed and sent.
QUEUE_BYTES = 1024 * 1024
# From the connection to the peer's proven identity; as long as connecting may take.
HANDSHAKE_TIMEOUT_S = 10.0
# The ecosystem's keepalive of tunnels: ping this often, give up after that long.
PING_INTERVAL_S = 10.0
PING_TIMEOUT_S = 20.0
# The ecosystem's: a tunnel without streams is released after this.
IDLE_TIMEOUT_S = 300.0
PING_PAYLOAD = b"ambient\0"


class Tunnel:
    """One tunnel; ends with `fail` or `close`, after which it has no stream and no socket."""

    def __init__(self, core: "Core", role: Role) -> None:
        self._core = core
        self.http2 = Connection(role, core.limits, core.budget)
        self.channel: Channel | None = None
        self.congested = False
        self.full = False
        self.closed = False
        self.peer = ""
        self.revocations = NO_LISTS
        # The peer is who it must be. Not a byte is sent before, not even when the tunnel fails.
        self.trusted = False
        self._queued_bytes = 0
        self._flush_due = False
        self._last_used_s = core.reactor.now()
        self._ping_sent_s = 0.0
        self._bucket = 0
        self.http2.start()

    # sending

    def queued(self, size: int) -> None:
        """Frames with `size` bytes of payload were queued: they leave, with all others of this loop turn, in one write."""
        if size:
            self._queued_bytes += size
            if self._queued_bytes > QUEUE_BYTES and self.trusted:
                self.full = True
        if not self._flush_due:
            self._flush_due = True
            self._core.reactor.flush_later(self)

    def flush(self) -> None:
        """Seals and sends all queued frames, if the peer is trusted."""
        self._flush_due = False
        frames = self.http2.outgoing
        if frames and self.trusted and self.channel is not None and not self.closed:
            self.http2.outgoing = []
            self._queued_bytes = 0
            self.full = False
            self.channel.write(frames)

    def send_in_place(self, stream: Stream, count: int) -> bool:
        """Seals and sends the first `count` bytes of the reactor's payload buffer, at once. False: queue them instead."""
        channel = self.channel
        if channel is None or not self.trusted:
            return False
        header = self.http2.data_header(stream, count)
        if header is None:
            return False
        frame = self._core.reactor.frame_view
        frame[:HEADER_BYTES] = header
        self.flush()
        channel.write_in_place(frame[: HEADER_BYTES + count])
        return True

    # channel

    def on_secured(self) -> None:
        if self.channel is None:
            raise AssertionError("secured without a channel")
        try:
            peer = peer_identity(self.channel.tls)
        except CredentialError as error:
            self.fail(Cause.TLS_FAILURE, str(error))
            return
        if reason := self.revocations.reason_against(self.channel.tls):
            self.fail(Cause.CERTIFICATE_REVOKED, f"{peer}: {reason}")
            return
        self.peer = peer
        self.on_peer()
        if not self.closed:
            self.trusted = True
            self._bucket = self._core.reactor.deadlines.set(PING_INTERVAL_S, self)
            self.flush()

    def on_peer(self) -> None:
        """The peer's identity is known."""

    def heed(self, revocations: Revocations) -> None:
        """From now on these lists hold. A peer that they name is not heard any longer."""
        self.revocations = revocations
        if self.trusted and self.channel is not None and not self.closed and (reason := revocations.reason_against(self.channel.tls)):
            self.fail(Cause.CERTIFICATE_REVOKED, f"{self.peer}: {reason}")

    def on_plaintext(self, data: memoryview) -> None:
        events = self.http2.receive(data, self._core.reactor.now())
        last = len(events) - 1
        owner: StreamRelay | None
        for at, event in enumerate(events):
            if type(event) is Data:
                owner = event.stream.owner  # type: ignore[assignment]  # only relays are set as owners
                if owner is not None:
                    after = events[at + 1] if at < last else None
                    # Bytes with their stream's end right behind them leave in one packet with it.
                    ends = type(after) is Ended and after.stream is event.stream
                    owner.on_data(event.data, event.flow_bytes, MSG_MORE if ends else 0)
            elif type(event) is Ended:
                # Every connection has one; the rest is rarer.
                owner = event.stream.owner  # type: ignore[assignment]
                if owner is not None:
                    owner.on_stream_ended()
            else:
                self._on_event(event)
        if self.http2.outgoing:
            self.queued(0)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Pong):
            self._ping_sent_s = 0.0
        elif isinstance(event, ConnectionFailed):
            self.fail(Cause.H2_FAILURE, f"{ErrorCode.name_of(event.code)}: {event.reason}")
        elif isinstance(event, GoAway):
            self.on_go_away()
        elif isinstance(event, Ended | Reset | Writable):
            owner: StreamRelay | None = event.stream.owner  # type: ignore[assignment]  # only relays are set as owners
            if owner is None:
                return
            if isinstance(event, Ended):
                owner.on_stream_ended()
            elif isinstance(event, Reset):
                event.stream.owner = None
                owner.on_stream_reset(event.code)
                self.on_stream_gone()
            else:
                owner.on_window()

    def on_go_away(self) -> None:
        """The peer takes no new streams."""

    def on_channel_closed(self, error: Exception | None) -> None:
        for event in self.http2.receive_eof():
            if not isinstance(event, ConnectionFailed):
                self._on_event(event)
        # With TLS 1.3 a server refuses the client's certificate after the client's handshake is done (RFC 8446 section 4.4.2.4).
        secured = self.channel is not None and self.channel.secured and not isinstance(error, ssl.SSLError)
        self.fail(Cause.H2_FAILURE if secured else Cause.TLS_FAILURE, describe(error))

    def on_congested(self) -> None:
        self.congested = True
        self._update_relays()

    def on_drained(self) -> None:
        self.congested = False
        self._update_relays()

    def _update_relays(self) -> None:
        for owner in self.owners():
            owner.update_reading()

    # streams

    def owners(self) -> "list[StreamRelay]":
        return [stream.owner for stream in self.http2.streams.values() if stream.owner is not None]  # type: ignore[misc]

    def release(self, stream: Stream, code: int | None) -> None:
        """A relay is done with its stream; `code`: reset it."""
        stream.owner = None
        if self.closed:
            return
        if code is not None:
            self.http2.reset_stream(stream, code)
            self.queued(0)
        self._last_used_s = self._core.reactor.now()
        self.on_stream_gone()

    def on_stream_gone(self) -> None:
        """A stream ended."""

    # the end

    def expire(self) -> None:
        """Keepalive."""
        now_s = self._core.reactor.now()
        if self._ping_sent_s and now_s - self._ping_sent_s > PING_TIMEOUT_S:
            self.fail(Cause.H2_FAILURE, f"no answer to a ping within {PING_TIMEOUT_S:g} s")
            return
        if not self.http2.streams and now_s - self._last_used_s > IDLE_TIMEOUT_S:
            self.close()
            return
        if not self._ping_sent_s:
            self._ping_sent_s = now_s
            self.http2.ping(PING_PAYLOAD)
            self.queued(0)
        self._bucket = self._core.reactor.deadlines.set(PING_INTERVAL_S, self)

    def fail(self, cause: Cause, detail: str) -> None:
        """Ends every stream for this reason, and the tunnel."""
        if self.closed:
            return
        owners = self.owners()
        self.close(in_order=False)
        for owner in owners:
            owner.end(cause, detail)

    def close(self, *, in_order: bool = True) -> None:
        """Sends what is queued (a GOAWAY with its reason, say) and closes; in order: when the peer has taken it."""
        if self.closed:
            return
        if self.channel is not None:
            if not self.channel.closed:
                self.http2.go_away(ErrorCode.NO_ERROR)
                self.flush()
            self.closed = True
            if in_order:
                self.channel.finish()
            else:
                self.channel.close()
        self.closed = True
        self.http2.receive_eof()
        self._core.reactor.deadlines.cancel(self._bucket, self)
        self.on_closed()

    def on_closed(self) -> None:
        """The tunnel is gone."""


def describe(error: Exception | None) -> str:
    """A clause for the log about how a connection ended."""
    if error is None:
        return "the peer closed the tunnel"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    verify = getattr(error, "verify_message", None)
    return f"{reason}: {verify}" if verify else str(reason)
