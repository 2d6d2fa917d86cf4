"""What all connections of the engine share: the reactor, pods, credentials, the flow table, the pool of tunnels, the ledger."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ztunnel.engine.interface import Cause, Direction, LiveFlow
from ztunnel.engine.python.credentials import Contexts
from ztunnel.engine.python.dialling import Stock
from ztunnel.engine.python.flows import Choice, FlowTable
from ztunnel.engine.python.ledger import Ledger
from ztunnel.engine.python.outbound import Pool
from ztunnel.engine.python.reactor import Reactor
from ztunnel.hbone import Budget, Limits

if TYPE_CHECKING:
    from ztunnel.engine.python.inbound import InboundTunnel
    from ztunnel.engine.python.plain_relay import PlainRelay
    from ztunnel.engine.python.stream_relay import StreamRelay

    Relay = PlainRelay | StreamRelay

# What streams may be promised, all together, beyond their first window: enough for 64 bulk streams at their largest.
WINDOW_BUDGET_BYTES = 256 * 1024 * 1024


class Pod:
    """A pod of this node: its namespace, its listeners, and what is alive in it."""

    def __init__(self, core: "Core", number: int, netns_fd: int, identity: str) -> None:
        self.core = core
        self.stock = Stock(core.reactor, netns_fd)
        self.number = number
        self.netns_fd = netns_fd
        self.identity = identity
        self.listeners: dict[Direction, socket.socket] = {}
        self.accepting_hbone = False
        self.handshakes = 0
        self.tunnels: set[InboundTunnel] = set()
        self.relays: set[Relay] = set()
        self.leaving = False
        self.drain_bucket = 0

    def expire(self) -> None:
        """The time to drain is up."""
        self.core.close_pod(self)


class Core:
    """See the module. No decision is made here."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self.reactor = Reactor(loop)
        self.ledger = Ledger(wake, self.reactor.now)
        self.flows = FlowTable(self.ledger, self.reactor.deadlines)
        self.pool = Pool(self)
        self.limits = Limits()
        self.budget = Budget(WINDOW_BUDGET_BYTES)
        self.contexts: dict[str, Contexts] = {}
        self.pods: dict[int, Pod] = {}
        # Pods that left and still have connections.
        self.leaving: set[Pod] = set()
        self.all_gone = asyncio.Event()
        self.relays: dict[Relay, tuple[Pod, ...]] = {}
        self.handshakes = 0
        self.buffered_bytes = 0

    def add_relay(self, relay: "Relay", choice: Choice | None, *pods: Pod) -> None:
        """A connection lives, on behalf of these pods; with a choice: it was decided to be carried."""
        if choice is not None:
            relay.live, relay.reports, relay.next_hop = choice.live, choice.reports, choice.next_hop
        self.relays[relay] = pods
        for pod in pods:
            pod.relays.add(relay)

    def close_relay(self, relay: "Relay", cause: Cause, detail: str) -> None:
        """A connection ended."""
        self.ledger.closed(relay, cause, detail)
        for pod in self.relays.pop(relay, ()):
            pod.relays.discard(relay)
            if pod.leaving:
                self.pod_may_be_gone(pod)

    def live_flows(self) -> list[LiveFlow]:
        """What the connections that were decided to be carried came by and were given."""
        return list(dict.fromkeys(self._distinct().values()))

    def close_flows(self, flows: frozenset[LiveFlow], cause: Cause, detail: str) -> None:
        """Ends every connection of these with resets, and forgets what was decided about their flows."""
        self.flows.forget(live.flow for live in flows)
        ending = frozenset(number for number, live in self._distinct().items() if live in flows)
        for relay in [relay for relay in self.relays if id(relay.live) in ending]:
            relay.end(cause, detail)

    def _distinct(self) -> dict[int, LiveFlow]:
        """Connections of one decision share one object: found by its id, it need not be hashed for each of them."""
        return {id(relay.live): relay.live for relay in self.relays if relay.live is not None}

    def set_contexts(self, identity: str, contexts: Contexts) -> None:
        """New tunnels of the identity use these. Those that live go on, unless the lists name their peer."""
        before = self.contexts.get(identity)
        self.contexts[identity] = contexts
        if before is None or before.basis != contexts.basis:
            self.pool.retire(identity)
        if before is None or before.revocations is not contexts.revocations:
            inbound = [tunnel for pod in (*self.pods.values(), *self.leaving) if pod.identity == identity for tunnel in pod.tunnels]
            for tunnel in (*inbound, *self.pool.of(identity)):
                tunnel.heed(contexts.revocations)

    def drain_pod(self, pod: Pod, timeout_s: float) -> None:
        """No new connections; those that live may end by themselves until the time is up."""
        pod.leaving = True
        self.leaving.add(pod)
        self.all_gone.clear()
        pod.drain_bucket = self.reactor.deadlines.set(timeout_s, pod)
        self.flows.give_up_pod(pod.number)
        for tunnel in list(pod.tunnels):
            tunnel.drain()
        self.pod_may_be_gone(pod)

    def pod_may_be_gone(self, pod: Pod) -> None:
        if pod.leaving and pod in self.leaving and not pod.relays:
            self.close_pod(pod)

    def close_pod(self, pod: Pod) -> None:
        """Ends what is left of a leaving pod."""
        if pod not in self.leaving:
            return
        self.leaving.discard(pod)
        self.reactor.deadlines.cancel(pod.drain_bucket, pod)
        for relay in list(pod.relays):
            relay.end(Cause.DRAINED, "the pod left the mesh")
        for tunnel in list(pod.tunnels):
            tunnel.close()
        self.pool.close_pod(pod.number)
        pod.stock.close()
        os.close(pod.netns_fd)
        if not self.leaving:
            self.all_gone.set()
