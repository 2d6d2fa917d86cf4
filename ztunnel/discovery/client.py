"""The delta xDS client: one stream, kept up; what it says goes into the store, and whoever waits for it is woken."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable

import structlog
from envoy.service.discovery.v3 import discovery_pb2 as xds  # type: ignore[import-untyped]  # xds-protos has no types
from grpclib.client import Stream, StreamStreamMethod
from grpclib.exceptions import ProtocolError

from mesh.policy.evaluation import PolicyBook
from runtime.backoff import Backoff
from ztunnel.config import ControlPlaneSettings, NodeSettings
from ztunnel.control_plane import CALL_ERRORS, CONNECT_TIMEOUT_S, bearer, describe, open_channel
from ztunnel.discovery import wire
from ztunnel.discovery.demand import Answer, Demand
from ztunnel.discovery.outbox import Outbox
from ztunnel.discovery.policies import POLICIES, Policies, PolicyUpdate
from ztunnel.discovery.store import Store, Update

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
# A control plane restarts in about a second; a minute-long outage must not be followed by a long blindness.
RECONNECT = Backoff(first_s=0.2, limit_s=5.0)

AdsStream = Stream[xds.DeltaDiscoveryRequest, xds.DeltaDiscoveryResponse]

log = structlog.get_logger(scope="xds")


class Discovery:
    """What this node knows, kept up to date.

    Args:
        changed: called when something that decisions were made from means something else now.
        enforce: called when what connections were let in by means something else now: policies, or the pods of this node.
        clock: seconds, monotonic.
        roots: whom to believe when connecting, PEM; may raise CredentialError. None: the trust bundle's file as it is then.
    """

    def __init__(
        self,
        node: NodeSettings,
        control_plane: ControlPlaneSettings,
        changed: Callable[[], None],
        demand: Demand | None = None,
        clock: Callable[[], float] = time.monotonic,
        enforce: Callable[[], None] = lambda: None,
        roots: Callable[[], bytes] | None = None,
    ) -> None:
        self.store = Store()
        self.policies = Policies(PolicyBook(node.trust_domain, node.trust_domain_aliases), node.root_namespace)
        self.connected = False
        # Of this process's life: the control plane has told addresses once.
        self.synced = False
        self._node = node
        self._control_plane = control_plane
        host, port = self._control_plane.xds
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._roots = roots
        self._changed = changed
        self._enforce = enforce
        self._demand = Demand() if demand is None else demand
        self._clock = clock
        self._outbox = Outbox()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def run(self) -> None:
        """Serves until cancelled."""
        failures = 0
        while True:
            try:
                await self.session()
                reason = "the control plane ended the stream"
            except CALL_ERRORS as error:
                reason = describe(error)
            failures = 1 if self.connected else failures + 1
            self.connected = False
            log.warning("discovery lost", reason=reason, failures=failures, address=self._address)
            await asyncio.sleep(RECONNECT.delay_s(failures, random.random()))

    def pin(self, name: str) -> None:
        """Subscribes to a name for as long as it is pinned: a pod of this node."""
        self._demand.pin(name)
        self._ask(name)

    def unpin(self, name: str) -> None:
        self._demand.unpin(name)

    def settled(self, name: str) -> bool:
        """Says whether a decision may be made that depends on a name, or on POLICIES; when not, `settle` waits for it."""
        if name == POLICIES:
            return self.policies.synced
        if not self._control_plane.on_demand:
            return self.synced
        answer = self._demand.answer(name)
        if answer is None and self.store.certain(name):
            self._ask(name)
            return True
        return answer not in {None, Answer.AWAITED}

    async def settle(self, names: Iterable[str], timeout_s: float) -> None:
        """Returns when every name is settled, or the time is up; then what is missing counts as unknown."""
        waiting = [name for name in names if not self.settled(name)]
        if not waiting:
            return
        if not self._control_plane.on_demand:
            waiting = list({name if name == POLICIES else wire.WILDCARD for name in waiting})
        for name in waiting:
            self._ask(name)
        loop = asyncio.get_running_loop()
        futures = [self._waiting.setdefault(name, loop.create_future()) for name in waiting]
        await asyncio.wait(futures, timeout=timeout_s)
        for name in waiting:
            self._demand.overdue(name, self._clock())

    def shed(self) -> None:
        """Drops what is subscribed to and no longer asked for; called now and then."""
        names = self._demand.shed(self._clock())
        if not names:
            return
        dropped = self.store.forget(self.store.reachable(self._demand.names()))
        self._outbox.unsubscribe({*names, *dropped})
        self._wake(names)
        self._changed()

    def _ask(self, name: str) -> None:
        if name != POLICIES and self._control_plane.on_demand and self._demand.ask(name, self.store.certain(name), self._clock()):
            self._outbox.subscribe(name)
            if self._demand.full:
                self.shed()

    async def session(self) -> None:
        """Holds one stream. Raises one of CALL_ERRORS when it breaks; returns when the control plane ends it."""
        metadata = bearer(self._control_plane.auth_token)
        roots = None if self._roots is None else self._roots()
        async with open_channel(self._control_plane, self._control_plane.xds, roots) as channel:
            method = StreamStreamMethod(channel, METHOD, xds.DeltaDiscoveryRequest, xds.DeltaDiscoveryResponse)
            async with method.open(metadata=metadata) as stream:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await stream.send_request()
                self.begin()
                sender = asyncio.create_task(self._send(stream))
                try:
                    await self._receive(stream)
                finally:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)

    def begin(self) -> None:
        """A new stream: asks anew for every name, and says what is held, so that what has gone or is no longer wanted is told to be gone.

        Policies first: nobody is let in before them.
        """
        policies = wire.first_request(self._node, frozenset((wire.WILDCARD,)), self.policies.versions(), wire.AUTHORIZATION_TYPE)
        versions = self.store.versions()
        names = frozenset(self._demand.names() if self._control_plane.on_demand else (wire.WILDCARD,))
        self._outbox.restart(policies, wire.first_request(self._node, names, versions))

    def outgoing(self) -> list[xds.DeltaDiscoveryRequest]:
        """Returns what is to be sent on the stream now, in order."""
        return self._outbox.take()

    async def _send(self, stream: AdsStream) -> None:
        while True:
            await self._outbox.wait()
            for request in self.outgoing():
                await stream.send_message(request)

    async def _receive(self, stream: AdsStream) -> None:
        while (response := await stream.recv_message()) is not None:
            self.take(response)

    def take(self, response: xds.DeltaDiscoveryResponse) -> None:
        """Applies one response and acknowledges it; bad resources in it are refused by name.

        Raises:
            ProtocolError: acknowledgements would pile up.
        """
        if len(response.nonce) > wire.MAX_NONCE_LENGTH or self._outbox.full:
            raise ProtocolError("a nonce that is too long" if not self._outbox.full else "the peer does not read our acknowledgements")
        if not self.connected:
            log.info("discovery connected", address=self._address, resources=len(response.resources))
        self.connected = True
        match response.type_url:
            case wire.ADDRESS_TYPE:
                update, reasons = wire.read_addresses(response, self._node.trust_domain)
                self._apply(update)
            case wire.AUTHORIZATION_TYPE:
                policies, reasons = wire.read_policies(response)
                self._apply_policies(policies)
            case _:
                log.error("response refused", type=response.type_url[: wire.MAX_SHOWN])
                self._outbox.acknowledge(wire.reject_type(response))
                return
        if reasons:
            log.error("resources refused", type=response.type_url, reasons=reasons[: wire.MAX_REASONS], refused=len(reasons))
        self._outbox.acknowledge(wire.ack_request(response.nonce, reasons, response.type_url))

    def _apply(self, update: Update) -> None:
        self.synced = True
        change = self.store.apply(update)
        told = change.appeared | change.confirmed
        wrong = self._demand.told(told, change.gone, self._clock())
        if change.touched or wrong or (change.appeared and not self._control_plane.on_demand):
            self._changed()
        if self._demand.pinned(change.appeared | change.gone):
            self._enforce()
        self._wake((*told, *change.gone, wire.WILDCARD))

    def _apply_policies(self, update: PolicyUpdate) -> None:
        if self.policies.apply(update):
            self._changed()
            self._enforce()
        self._wake((POLICIES,))

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            future = self._waiting.pop(name, None)
            if future is not None and not future.done():
                future.set_result(None)
