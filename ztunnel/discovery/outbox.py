"""What waits to be sent on the stream: acknowledgements in order, subscriptions merged."""

import asyncio
from collections.abc import Iterable

from envoy.service.discovery.v3 import discovery_pb2 as xds  # type: ignore[import-untyped]  # xds-protos has no types

from ztunnel.discovery import wire

# A control plane that waits for each acknowledgement has two under way; some send on without waiting. Each has a nonce of the peer's.
MAX_WAITING = 1000


class Outbox:
    """Filled by anybody, emptied by the one sender of the stream. A new stream starts with nothing but its first requests."""

    def __init__(self) -> None:
        self._requests: list[xds.DeltaDiscoveryRequest] = []
        self._subscribe: set[str] = set()
        self._unsubscribe: set[str] = set()
        self._filled = asyncio.Event()

    def restart(self, *first: xds.DeltaDiscoveryRequest) -> None:
        """Forgets what an earlier stream did not send: the first requests, one for each type, say it all."""
        self._requests = list(first)
        self._subscribe.clear()
        self._unsubscribe.clear()
        self._filled.set()

    def subscribe(self, name: str) -> None:
        self._unsubscribe.discard(name)
        self._subscribe.add(name)
        self._filled.set()

    def unsubscribe(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._subscribe:
                self._subscribe.discard(name)
            else:
                self._unsubscribe.add(name)
        self._filled.set()

    def acknowledge(self, request: xds.DeltaDiscoveryRequest) -> None:
        self._requests.append(request)
        self._filled.set()

    @property
    def full(self) -> bool:
        """Says whether the peer sends and sends, and does not read."""
        return len(self._requests) >= MAX_WAITING

    async def wait(self) -> None:
        """Returns when there is something to take."""
        await self._filled.wait()

    def take(self) -> list[xds.DeltaDiscoveryRequest]:
        """Returns all that is there, in the order to send it in."""
        self._filled.clear()
        requests, self._requests = self._requests, []
        if self._subscribe or self._unsubscribe:
            requests.append(wire.subscribe_request(self._subscribe, self._unsubscribe))
            self._subscribe.clear()
            self._unsubscribe.clear()
        return requests
