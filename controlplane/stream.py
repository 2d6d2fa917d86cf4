"""One delta xDS stream between messages and subscriptions: nonces, acknowledgements, what to send next. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2  # type: ignore[import-untyped]  # xds-protos has no types

from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.status import Status
from controlplane.subscription import Request, Response, Subscription
from controlplane.table import Table
from mesh.errors import RemoteProtocolError

# Types that we know nothing of are answered with nothing; this bounds how many a client may name.
MAX_TYPES = 16
# Characters of what a client sent that are kept, shown or logged: a type's name, an error's message.
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


class Mesh(Protocol):
    """What a stream reads; it is the newest state at every moment, and the same one for all types."""

    def table(self, type_url: str) -> Table: ...

    def scope_generation(self, node: str) -> int:
        """When the policies that a node needs may last have become others."""

    def scope(self, node: str) -> frozenset[str]:
        """Returns the names of the policies that a node needs."""


@dataclass(slots=True)
class Stream:
    """The state of one stream. For each type one response is under way at most; what changes meanwhile is in the next one.

    Args:
        new_nonce: gives a nonce that is unique on the stream.
        mesh: what is told.
        node: the node whose proxy has the stream, and is told the policies of that node alone; None: another client, which gets all.
    """

    new_nonce: Callable[[], str]
    mesh: Mesh
    node: str | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    outstanding: dict[str, str] = field(default_factory=dict)
    scoped_at: int = -1
    # The generations of which the client has acknowledged all addresses, and will have with what is under way.
    _told: int = 0
    _telling: int = 0
    # The client has answered, and so has asked for addresses, if it wants any.
    _acknowledged: bool = False

    def receive(self, message: Any) -> list[Fact]:
        """Applies a DeltaDiscoveryRequest and returns what there is to log.

        Raises:
            RemoteProtocolError: what the client did wrong, and the status to end the stream with.
        """
        type_url = str(message.type_url)
        if not type_url or len(type_url) > _MAX_LOGGED or (type_url not in self.subscriptions and len(self.subscriptions) == MAX_TYPES):
            raise RemoteProtocolError(Status.INVALID_ARGUMENT, f"a resource type that is missing, or one of more than {MAX_TYPES}")
        self._check_node(message)
        facts = self._acknowledge(type_url, message)
        request = Request(
            tuple(message.resource_names_subscribe), tuple(message.resource_names_unsubscribe), dict(message.initial_resource_versions)
        )
        current = self.subscriptions.get(type_url)
        if current is None:
            self.subscriptions[type_url] = Subscription(request)
        elif request.subscribe or request.unsubscribe:
            current.change(request, self.mesh.table(type_url))
        else:
            return facts
        wildcard, known = self.subscriptions[type_url].wildcard, type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE)
        return [*facts, Subscribed(type_url, current is None, wildcard, len(request.subscribe), len(request.unsubscribe), known)]

    def _check_node(self, message: Any) -> None:
        """A proxy that takes itself for that of another node would let peers in by this node's policies, without those of its own pods."""
        fields = message.node.metadata.fields
        named = fields["NODE_NAME"].string_value if "NODE_NAME" in fields else ""
        if self.node is not None and named not in ("", self.node):
            raise RemoteProtocolError(Status.PERMISSION_DENIED, f"the token is of node {self.node}, and not of {named[:_MAX_LOGGED]!r}")

    def _acknowledge(self, type_url: str, message: Any) -> list[Fact]:
        """A nonce that is not the outstanding one is of an earlier response, and says nothing new."""
        nonce = str(message.response_nonce)
        if not nonce or self.outstanding.get(type_url) != nonce:
            return []
        del self.outstanding[type_url]
        self._acknowledged = True
        if type_url == ADDRESS_TYPE:
            self._told = self._telling
        if message.HasField("error_detail"):
            return [Rejected(type_url, message.error_detail.code, message.error_detail.message[:_MAX_LOGGED])]
        return [Accepted(type_url, nonce)]

    def responses(self) -> list["Sent"]:
        """Returns what is to be sent now, in this order.

        Policies first: an address is sent when the client has been sent every policy of its time, so that no workload is known
        before the policies that hold for it. And policies last: one that goes is taken back when the client has taken over every address
        of that time, so that no workload outlives the policies that hold for it, or lists one that is not there.
        """
        policies = self.subscriptions.get(AUTHORIZATION_TYPE)
        ready = []
        if policies is not None:
            self._narrow(policies)
            self._note_told()
            ready += self._response(AUTHORIZATION_TYPE, policies)
        for type_url, subscription in self.subscriptions.items():
            held_back = type_url == ADDRESS_TYPE and policies is not None and not policies.settled(self.mesh.table(AUTHORIZATION_TYPE))
            if subscription is not policies and not held_back:
                ready += self._response(type_url, subscription)
        self._note_told()
        # What only waited for the addresses, which may have had nothing to say: nothing else would come back to it.
        return ready + self._response(AUTHORIZATION_TYPE, policies) if policies is not None else ready

    def _note_told(self) -> None:
        addresses = self.subscriptions.get(ADDRESS_TYPE)
        if self._acknowledged if addresses is None else addresses.settled(self.mesh.table(ADDRESS_TYPE)):
            self._telling = self._now()
            if ADDRESS_TYPE not in self.outstanding:
                self._told = self._telling

    def _now(self) -> int:
        return max(self.mesh.table(type_url).generation for type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE))

    def _narrow(self, policies: Subscription) -> None:
        if self.node is not None and self.scoped_at < (generation := self.mesh.scope_generation(self.node)):
            policies.narrow(self.mesh.scope(self.node))
            self.scoped_at = generation

    def _response(self, type_url: str, subscription: Subscription) -> list["Sent"]:
        if type_url in self.outstanding:
            return []
        now = self._now()
        response = subscription.next_response(self.mesh.table(type_url), now, self._told if type_url == AUTHORIZATION_TYPE else now)
        if response is None:
            return []
        self.outstanding[type_url] = nonce = self.new_nonce()
        return [Sent(type_url, nonce, response)]


@dataclass(frozen=True, slots=True)
class Sent:
    """A response that is under way from now on."""

    type_url: str
    nonce: str
    response: Response

    def serialise(self) -> bytes:
        """Returns a DeltaDiscoveryResponse. Its resources come as they were serialised once, for all streams.

        Source: Protocol Buffers, "Encoding": messages may be joined end to end, and repeated fields then add up.
        """
        header = discovery_pb2.DeltaDiscoveryResponse(type_url=self.type_url, nonce=self.nonce)
        header.system_version_info = str(self.response.generation)
        header.removed_resources.extend(self.response.removed)
        return b"".join([header.SerializeToString(), *(one.field for one in self.response.resources)])
