"""One delta xDS stream between messages and subscriptions: nonces, acknowledgements, what to send next. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2  # type: ignore[import-untyped]  # xds-protos has no types

from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE, NOTHING, Resources
from controlplane.status import Status
from controlplane.subscription import Request, Response, Subscription, next_response, open_subscription, update_subscription
from mesh.errors import RemoteProtocolError

# Types that we know nothing of are answered with nothing; this bounds how many a client may name.
MAX_TYPES = 16
_MAX_LOGGED = 512


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client could not use a response (NACK); it keeps what it had."""

    type_url: str
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client has taken over a response (ACK)."""

    type_url: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A client's wishes changed: `first` on this stream for this type, how many names came and went."""

    type_url: str
    first: bool
    wildcard: bool
    added: int
    dropped: int
    known: bool


Fact = Rejected | Accepted | Subscribed


@dataclass(slots=True)
class Stream:
    """The state of one stream. For each type one response is under way at most; what changes meanwhile is in the next one.

    Args:
        new_nonce: gives a nonce that is unique on the stream.
    """

    new_nonce: Callable[[], str]
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    outstanding: dict[str, str] = field(default_factory=dict)

    def receive(self, message: Any, addresses: Resources) -> list[Fact]:
        """Applies a DeltaDiscoveryRequest and returns what there is to log.

        Raises:
            RemoteProtocolError: what the client did wrong, and the status to end the stream with.
        """
        type_url = str(message.type_url)
        if not type_url or len(type_url) > _MAX_LOGGED or (type_url not in self.subscriptions and len(self.subscriptions) == MAX_TYPES):
            raise RemoteProtocolError(Status.INVALID_ARGUMENT, f"a resource type that is missing, or one of more than {MAX_TYPES}")
        facts = self._acknowledge(type_url, message)
        request = Request(
            tuple(message.resource_names_subscribe), tuple(message.resource_names_unsubscribe), dict(message.initial_resource_versions)
        )
        current = self.subscriptions.get(type_url)
        if current is None:
            self.subscriptions[type_url] = open_subscription(request)
        elif request.subscribe or request.unsubscribe:
            self.subscriptions[type_url] = update_subscription(current, request, resources_of(type_url, addresses))
        else:
            return facts
        wildcard, known = self.subscriptions[type_url].wildcard, type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE)
        return [*facts, Subscribed(type_url, current is None, wildcard, len(request.subscribe), len(request.unsubscribe), known)]

    def _acknowledge(self, type_url: str, message: Any) -> list[Fact]:
        """A nonce that is not the outstanding one is of an earlier response, and says nothing new."""
        nonce = str(message.response_nonce)
        if not nonce or self.outstanding.get(type_url) != nonce:
            return []
        del self.outstanding[type_url]
        if message.HasField("error_detail"):
            return [Rejected(type_url, message.error_detail.code, message.error_detail.message[:_MAX_LOGGED])]
        return [Accepted(type_url, nonce)]

    def responses(self, addresses: Resources) -> list[tuple[str, Response, Any]]:
        """Returns what is to be sent now: for each type the response, and the DeltaDiscoveryResponse that carries it."""
        ready = []
        for type_url in [one for one in self.subscriptions if one not in self.outstanding]:
            after, response = next_response(self.subscriptions[type_url], resources_of(type_url, addresses))
            self.subscriptions[type_url] = after
            if response is not None:
                self.outstanding[type_url] = nonce = self.new_nonce()
                ready.append((type_url, response, render(type_url, response, nonce)))
        return ready


def resources_of(type_url: str, addresses: Resources) -> Resources:
    """Returns the resources of a type. There are no policies yet, and of other types there never are any."""
    return addresses if type_url == ADDRESS_TYPE else NOTHING


def render(type_url: str, response: Response, nonce: str) -> Any:
    message = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, system_version_info=str(response.generation))
    message.removed_resources.extend(response.removed)
    for resource in response.resources:
        added = message.resources.add(name=resource.name, aliases=resource.aliases, version=resource.version)
        added.resource.type_url = type_url
        added.resource.value = resource.body
    return message
