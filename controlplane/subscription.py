"""What one client wants of one resource type, what it holds, and so what it must be sent. No I/O.

Source: xDS protocol, "Incremental xDS"; on-demand subscription to addresses as Istio's control plane answers it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controlplane.resources import Resource, Resources
from controlplane.status import Status
from mesh.errors import RemoteProtocolError

WILDCARD = "*"
# A node asks for what its pods talk to; whoever wants more should subscribe to everything.
MAX_NAMES = 50_000
# "namespace/hostname", "network/ip" or a uid, with room for long clusters and names.
MAX_NAME_LENGTH = 1100
# gRPC clients refuse messages over 4 MiB by default; what does not fit follows after the acknowledgement.
MAX_RESPONSE_BYTES = 3 * 2**20
MAX_REMOVED_NAMES = 8_000


@dataclass(frozen=True, slots=True)
class Request:
    """What a DeltaDiscoveryRequest says of a subscription.

    Args:
        versions: of what the client holds from before, by primary name; only the first request of a stream says it.
    """

    subscribe: Sequence[str] = ()
    unsubscribe: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What a DeltaDiscoveryResponse is to say."""

    generation: int
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subscription:
    """The state of one type on one stream.

    Args:
        wildcard: everything is wanted.
        names: wanted by name, as the client spells them.
        held: versions of what the client has been sent, by primary name.
        absent: of `names`, those that the client has been told do not exist.
        unanswered: the first request has had no response yet; it gets one, even an empty one.
    """

    wildcard: bool
    names: frozenset[str]
    held: Mapping[str, str]
    absent: frozenset[str] = frozenset()
    unanswered: bool = True


def open_subscription(request: Request) -> Subscription:
    """Begins with the first request of a type on a stream; one that names nothing wants everything.

    Raises:
        RemoteProtocolError: more names than one client may have.
    """
    _check_size(len(request.versions))
    blank = Subscription(wildcard=not request.subscribe, names=frozenset(), held=MappingProxyType(dict(request.versions)))
    return _change_names(blank, request)


def update_subscription(subscription: Subscription, request: Request, resources: Resources) -> Subscription:
    """Applies a later request. What it subscribes to is sent again, even where the client should still hold it.

    Raises:
        RemoteProtocolError: more names than one client may have.
    Source: xDS protocol: a client may have dropped a resource and asked for it anew before it unsubscribed.
    """
    again = {name for asked in request.subscribe for name in resources.lookup(asked)}
    # It may hold them, so that it must be told should they go; no version is empty, so that they are sent.
    held = {**subscription.held, **dict.fromkeys(again & subscription.held.keys(), "")}
    absent = subscription.absent - frozenset(request.subscribe)
    return _change_names(replace(subscription, held=held, absent=absent), request)


def next_response(subscription: Subscription, resources: Resources) -> tuple[Subscription, Response | None]:
    """Compares what the client holds with what it wants.

    Returns:
        the subscription as it is once the response is sent, and the response; None when there is nothing to say.
    """
    wanted = _wanted(subscription, resources)
    stale = [resources.by_name[name] for name in sorted(wanted) if subscription.held.get(name) != resources.by_name[name].version]
    sent = _fitting(stale)
    gone = sorted(subscription.held.keys() - wanted)
    missing = frozenset(name for name in subscription.names if not resources.lookup(name))
    removed = tuple([*gone, *sorted(missing - subscription.absent - frozenset(gone))][:MAX_REMOVED_NAMES])
    if not (sent or removed or subscription.unanswered):
        return subscription, None
    told = frozenset(removed)
    held = {name: version for name, version in subscription.held.items() if name not in told}
    held.update((resource.name, resource.version) for resource in sent)
    after = replace(subscription, held=held, absent=missing & (subscription.absent | told), unanswered=False)
    return after, Response(resources.generation, tuple(sent), removed)


def _change_names(subscription: Subscription, request: Request) -> Subscription:
    """Subscribes, then unsubscribes: a client that wants nothing at first says "*" in both."""
    added, dropped = frozenset(request.subscribe), frozenset(request.unsubscribe)
    if any(len(name) > MAX_NAME_LENGTH for name in added):
        raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"a resource name has more than {MAX_NAME_LENGTH} characters")
    names = (subscription.names | added - {WILDCARD}) - dropped
    _check_size(len(names))
    wildcard = (subscription.wildcard or WILDCARD in added) and WILDCARD not in dropped
    return replace(subscription, wildcard=wildcard, names=names, absent=subscription.absent & names)


def _wanted(subscription: Subscription, resources: Resources) -> frozenset[str]:
    if subscription.wildcard:
        return frozenset(resources.by_name)
    return frozenset(primary for name in subscription.names for primary in resources.lookup(name))


def _fitting(stale: Sequence[Resource]) -> list[Resource]:
    """Returns as many as one response holds, but one at least."""
    size = 0
    for position, resource in enumerate(stale):
        size += len(resource.body) + len(resource.name) + sum(map(len, resource.aliases))
        if size > MAX_RESPONSE_BYTES and position:
            return list(stale[:position])
    return list(stale)


def _check_size(names: int) -> None:
    if names > MAX_NAMES:
        raise RemoteProtocolError(Status.RESOURCE_EXHAUSTED, f"more than {MAX_NAMES} resource names")
