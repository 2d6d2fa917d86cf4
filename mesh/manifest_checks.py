"""Whether the objects of several manifests fit together: no two of one name, no reference to nothing, no address owned twice."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mesh.catalogue.changes import ObjectKey
from mesh.errors import ConfigError
from mesh.kubernetes import Namespace, Node, Object, Pod, Service
from mesh.model import IPAddress

# Kubernetes makes both by itself: the namespace "default", and in every namespace the service account "default".
DEFAULT = "default"


class Reference(NamedTuple):
    """A field that names another object."""

    field: str
    target: ObjectKey


@dataclass(frozen=True, slots=True)
class Outline:
    """What of an object others can contradict; small, for it is kept of every object of a large cluster.

    Args:
        place: where it stands: "file:document number:", then the path of its item in a List.
        references: to what must be declared as well.
        addresses: that it alone may have; `addresses_field` is where they stand.
    """

    place: str
    key: ObjectKey
    uid: str
    references: tuple[Reference, ...]
    addresses: tuple[IPAddress, ...]

    @property
    def addresses_field(self) -> str:
        return "status.podIPs" if self.key.kind == Pod.__name__ else "spec.clusterIPs"


def key_of(value: Object) -> ObjectKey:
    """Names an object."""
    namespace = "" if isinstance(value, Namespace | Node) else value.metadata.namespace
    return ObjectKey(type(value).__name__, namespace, value.metadata.name)


def outline(place: str, value: Object) -> Outline:
    return Outline(place, key_of(value), value.metadata.uid, tuple(_references(value)), _addresses(value))


def find_misfits(outlines: Iterable[Outline]) -> Iterator[ConfigError]:
    """Finds everything in which these objects, which are all that there are, contradict one another."""
    known = tuple(outlines)
    yield from _find_duplicates(known)
    yield from _find_dangling(known)
    yield from _find_clashes(known)


def _references(value: Object) -> Iterator[Reference]:
    if isinstance(value, Namespace | Node):
        return
    namespace = value.metadata.namespace
    if namespace != DEFAULT:
        yield Reference("metadata.namespace", ObjectKey("Namespace", "", namespace))
    if isinstance(value, Pod) and value.spec.service_account_name != DEFAULT:
        yield Reference("spec.serviceAccountName", ObjectKey("ServiceAccount", namespace, value.spec.service_account_name))


def _addresses(value: Object) -> tuple[IPAddress, ...]:
    """Returns the addresses that nobody else can have: connections to them would be sent to one of the two with the other's identity."""
    if isinstance(value, Pod):
        return () if value.finished or value.spec.host_network else value.addresses
    return value.addresses if isinstance(value, Service) else ()


def _find_duplicates(outlines: Iterable[Outline]) -> Iterator[ConfigError]:
    """Finds two objects of one kind and name, or of one uid."""
    first: dict[ObjectKey, str] = {}
    uids: dict[str, str] = {}
    for one in outlines:
        other = first.setdefault(one.key, one.place)
        if other != one.place:
            expected = f"one {one.key.kind} of this name; another stands in {other.rstrip(':.')}"
            yield ConfigError(one.place + "metadata.name", "/".join(filter(None, one.key[1:])), expected)
        elif one.uid and uids.setdefault(one.uid, one.place) != one.place:
            yield ConfigError(one.place + "metadata.uid", one.uid, f"a uid of its own; {uids[one.uid].rstrip(':.')} has it too")


def _find_dangling(outlines: Iterable[Outline]) -> Iterator[ConfigError]:
    """Finds references to what no file declares."""
    declared = {one.key for one in outlines}
    for one in outlines:
        for field, target in one.references:
            if target not in declared:
                kind = "namespace" if target.kind == "Namespace" else "service account"
                where = f" in {target.namespace}" if target.namespace else ""
                yield ConfigError(one.place + field, target.name, f"a {kind} that a manifest declares{where}")


def _find_clashes(outlines: Iterable[Outline]) -> Iterator[ConfigError]:
    """Finds an address that two would own."""
    owners: dict[IPAddress, str] = {}
    for one in outlines:
        for ip in one.addresses:
            if owners.setdefault(ip, one.place) != one.place:
                owner = owners[ip].rstrip(":.")
                yield ConfigError(one.place + one.addresses_field, str(ip), f"an address of its own; {owner} has it too")
