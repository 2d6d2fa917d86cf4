"""What a snapshot looks like in xDS: named resources with a version of their content."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from mesh.model import Service, Snapshot, Workload
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names, service_to_wire, workload_to_wire

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
# 64 bits: a version only has to differ from the one that a client holds of the same resource.
_VERSION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it is sent.

    Args:
        source: what it says, to compare with.
        body: serialised, the same bytes for the same content.
        version: of the body.
    """

    source: Workload | Service
    name: str
    aliases: tuple[str, ...]
    body: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Resources:
    """All resources of one type.

    Args:
        generation: of the snapshot.
        by_name: by primary name.
        aliases: the primary name for each alias.
        backing: the primary names of the workloads behind each service, by the service's.
    """

    generation: int
    by_name: Mapping[str, Resource]
    aliases: Mapping[str, str]
    backing: Mapping[str, frozenset[str]]

    def lookup(self, name: str) -> frozenset[str]:
        """Returns the primary names that a subscription to `name` brings; empty when nothing has that name.

        A service brings its workloads, since a connection to it needs them at once.
        """
        primary = name if name in self.by_name else self.aliases.get(name)
        return frozenset((primary,)) | self.backing.get(primary, frozenset()) if primary is not None else frozenset()


NOTHING = Resources(0, MappingProxyType({}), MappingProxyType({}), MappingProxyType({}))


def address_resources(snapshot: Snapshot, previous: Resources = NOTHING) -> Resources:
    """Renders a snapshot; what did not change since `previous` is taken over and not serialised again."""
    by_name: dict[str, Resource] = {}
    aliases: dict[str, str] = {}
    backing: dict[str, set[str]] = {}
    # Services last: should a virtual IP be a node's address too, its alias names the service.
    sources: tuple[Workload | Service, ...] = (*snapshot.workloads.values(), *snapshot.services.values())
    for source in sources:
        resource = _render(source, previous)
        by_name[resource.name] = resource
        aliases.update(dict.fromkeys(resource.aliases, resource.name))
        for service in source.services if isinstance(source, Workload) else ():
            backing.setdefault(service, set()).add(resource.name)
    return Resources(snapshot.generation, by_name, aliases, {service: frozenset(uids) for service, uids in backing.items()})


def _render(source: Workload | Service, previous: Resources) -> Resource:
    name, aliases = resource_names(source)
    known = previous.by_name.get(name)
    if known is not None and known.source == source:
        return known
    address = pb.Address(workload=workload_to_wire(source)) if isinstance(source, Workload) else pb.Address(service=service_to_wire(source))
    body = address.SerializeToString(deterministic=True)
    return Resource(source, name, aliases, body, sha256(body).hexdigest()[:_VERSION_DIGITS])
