"""Listeners of a pod, and what becomes of a connection between being accepted and being relayed."""

import errno

from ztunnel.engine.interface import Cause, Direct, Direction, Local, Reject
from ztunnel.engine.interface import Tunnel as TunnelAction
from ztunnel.engine.python import sockets
from ztunnel.engine.python.core import Core, Pod
from ztunnel.engine.python.flows import Choice
from ztunnel.engine.python.inbound import InboundTunnel
from ztunnel.engine.python.ledger import Relayed
from ztunnel.engine.python.outbound import OutboundRelay
from ztunnel.engine.python.plain_relay import PlainRelay
from ztunnel.engine.python.sockets import Socket

# Connections taken from one listener before others get their turn.
ACCEPTS_PER_TURN = 64
# Tunnels that have not yet proved who they are; each costs tens of KB, and anyone can open one.
MAX_HANDSHAKES = 1024
# As many of them to one pod: whoever floods it shuts out its peers alone.
MAX_POD_HANDSHAKES = 256
# Out of descriptors or memory: what is open must close first, so look again after this.
ACCEPT_PAUSE_S = 0.5
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Accepted:
    """A captured connection that waits for its decision; unread, so that it costs a descriptor and no memory."""

    __slots__ = ("_address", "_core", "_direction", "_pod", "_sock", "_source", "_started_s")

    def __init__(self, core: Core, pod: Pod, direction: Direction, sock: Socket, address: str, port: int) -> None:
        self._core = core
        self._pod = pod
        self._direction = direction
        self._sock = sock
        self._address = address
        self._source = sockets.text(address, port)
        self._started_s = core.reactor.now()

    def ask(self) -> None:
        """Asks where it goes. A connection to the listener itself goes nowhere."""
        try:
            address, port = sockets.original_destination(self._sock, self._direction)
        except OSError:
            self._refuse(Cause.DENIED, "a connection to the mesh's own port")
            return
        source = "" if self._direction is Direction.OUTBOUND else self._address
        if not self._core.flows.ask((self._pod.number, self._direction, source, sockets.text(address, port), ""), self):
            self._refuse(Cause.OVERLOADED, "too many connections wait for a decision")

    def chosen(self, choice: Choice) -> None:
        action = choice.action
        core, pod = self._core, self._pod
        if isinstance(action, TunnelAction):
            outbound = OutboundRelay(core, self._source, self._started_s, choice, pod.stock)
            core.add_relay(outbound, choice, pod)
            outbound.open(self._sock)
        elif isinstance(action, Direct):
            relay = PlainRelay(core, self._sock, self._source, self._started_s)
            core.add_relay(relay, choice, pod)
            far = self._direction is Direction.OUTBOUND
            relay.dial(pod.stock, action.next_hop, self._address if action.keep_source else "", far=far)
        elif isinstance(action, Local):
            self._open_local(choice, action)
        elif isinstance(action, Reject):
            self._reject(choice, action.cause, action.detail)

    def _open_local(self, choice: Choice, action: Local) -> None:
        other = self._core.pods.get(action.pod)
        if other is None:
            # The pod left after the decision was made.
            self._reject(choice, Cause.NO_UPSTREAM, "the pod left the mesh")
            return
        relay = PlainRelay(self._core, self._sock, self._source, self._started_s)
        self._core.add_relay(relay, choice, self._pod, other)
        relay.dial(other.stock, action.next_hop, self._address, far=False)

    def _reject(self, choice: Choice, cause: Cause, detail: str) -> None:
        sockets.abort(self._sock)
        relayed = Relayed(self._source, "", self._started_s)
        relayed.reports = choice.reports
        self._core.ledger.closed(relayed, cause, detail)

    def gave_up(self, cause: Cause) -> None:
        self._refuse(cause, "no decision")

    def _refuse(self, cause: Cause, detail: str) -> None:
        sockets.abort(self._sock)
        self._core.ledger.refused(self._pod.number, self._direction, self._source, cause, detail)


class Acceptor:
    """One listener of a pod."""

    def __init__(self, core: Core, pod: Pod, direction: Direction) -> None:
        self._core = core
        self._pod = pod
        self._direction = direction
        self._listener = pod.listeners[direction]

    def start(self) -> None:
        self._core.reactor.add_reader(self._listener.fileno(), self._on_acceptable)

    def take_queued(self) -> None:
        """Takes what was connected before now, at the end: to close the listener would reset it. The kernel bounds how much that is."""
        for _ in range(sockets.BACKLOG // ACCEPTS_PER_TURN):
            if not self._take_some():
                return

    def expire(self) -> None:
        """The pause after running out of descriptors is over."""
        if not self._pod.leaving:
            self.start()

    def _on_acceptable(self) -> None:
        self._take_some()

    def _take_some(self) -> bool:
        """Takes a turn's portion from the queue; False: there is no more, or no room for it."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address, port = sockets.accept(self._listener)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._core.reactor.remove_reader(self._listener.fileno())
                    self._core.reactor.deadlines.set(ACCEPT_PAUSE_S, self)
                    return False
                # The client gave up before it was accepted (accept(2)).
                continue
            self._take(sock, address, port)
        return True

    def _take(self, sock: Socket, address: str, port: int) -> None:
        core, pod = self._core, self._pod
        if self._direction is not Direction.INBOUND_HBONE:
            Accepted(core, pod, self._direction, sock, address, port).ask()
            return
        contexts = core.contexts.get(pod.identity)
        if contexts is None or core.handshakes >= MAX_HANDSHAKES or pod.handshakes >= MAX_POD_HANDSHAKES:
            sockets.abort(sock)
            source = sockets.text(address, port)
            core.ledger.refused(pod.number, self._direction, source, Cause.OVERLOADED, "too many TLS handshakes at once")
            return
        InboundTunnel(core, pod, sock, (address, port), contexts).start()
